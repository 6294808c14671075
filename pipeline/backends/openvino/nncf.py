"""NNCF on a model: weight compression, and int8 post-training quantization of weights and activations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.backends.base import Form, Method, Order
from pipeline.backends.nncf import compress_weights, dataset, quiet_nncf, told
from pipeline.backends.openvino import convert, files
from pipeline.backends.openvino.session import feed
from pipeline.types import Checkpoint

Work = Callable[[Any, Order, str], Any]  # the model, the order, where errors say they are → the model, used up


def method(work: Work) -> Method:
    """The two ways of a method whose work is on a model in memory."""

    def quantize(export: Path, order: Order) -> None:
        files.copy_files(export, order.out, files.SIDE_FILES)
        files.save_model(work(files.read_model(export), order, str(export)), order.out / files.MODEL)

    def stream(checkpoint: Checkpoint, form: Form, order: Order) -> None:
        with convert.traced(checkpoint, form) as model:
            files.save_model(work(model, order, checkpoint.model), order.out / files.MODEL)
        convert.write_side_files(checkpoint, order.out)

    return Method(quantize, stream)


def compressed(model: Any, order: Order, where: str) -> Any:
    """Weights compressed; activations stay in floating point. Raises ToolError with NNCF's words."""
    return compress_weights(model, order.recipe.settings, order.calibration, feed, where)


def quantized(model: Any, order: Order, where: str) -> Any:
    """Full int8: weights and activations, with ranges from the calibration split. Raises ToolError."""
    nncf = quiet_nncf()
    advanced = nncf.AdvancedQuantizationParameters()
    if not order.recipe.settings.get("smooth_quant", True):
        advanced.smooth_quant_alphas = nncf.AdvancedSmoothQuantParameters(matmul=-1)
    data = dataset(order.calibration, feed)
    return told(
        lambda: nncf.quantize(
            model,
            data["dataset"],
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=data["subset_size"],
            preset=nncf.QuantizationPreset.MIXED,
            advanced_parameters=advanced,
        ),
        where,
    )
