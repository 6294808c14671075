"""NNCF on a model: weight compression, and int8 post-training quantization of weights and activations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Form, Method, Order
from pipeline.backends.nncf import compress_weights, dataset, quiet_nncf, told
from pipeline.backends.openvino import convert, files
from pipeline.backends.openvino.session import feed
from pipeline.errors import ConfigError
from pipeline.model.checkpoint import EMBEDDING, read_float32, read_headers
from pipeline.types import Checkpoint

Work = Callable[[Any, Order, str], Any]  # the model, the order, where errors say they are → the model, used up


def method(work: Work) -> Method:
    """The two ways of a method whose work is on a model in memory."""

    def quantize(export: Path, order: Order) -> None:
        files.copy_files(export, order.out, files.SIDE_FILES)
        made = work(files.read_model(export), order, str(export))
        files.save_model(made, order.out / files.decoder_of(export))

    def stream(checkpoint: Checkpoint, form: Form, order: Order) -> None:
        with convert.traced(checkpoint, form) as model:
            files.save_model(work(model, order, checkpoint.model), order.out / convert.decoder_name(checkpoint))
        del model  # before what else is made takes memory
        convert.write_side_files(checkpoint, order.out)

    return Method(quantize, stream)


def compressed(model: Any, order: Order, where: str) -> Any:
    """Weights compressed; activations stay in floating point. Raises ToolError with NNCF's words."""
    return compress_weights(model, order.recipe.settings, order.calibration, _feeder(model, order), where)


def quantized(model: Any, order: Order, where: str) -> Any:
    """Full int8: weights and activations, with ranges from the calibration split. Raises ToolError."""
    nncf = quiet_nncf()
    advanced = nncf.AdvancedQuantizationParameters()
    settings = order.recipe.settings
    if not settings.get("smooth_quant", True):
        advanced.smooth_quant_alphas = nncf.AdvancedSmoothQuantParameters(matmul=-1)
    if fix := settings.get("overflow_fix"):
        advanced.overflow_fix = nncf.OverflowFix(fix)
    data = dataset(order.calibration, _feeder(model, order))
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


def _feeder(model: Any, order: Order) -> Callable[[NDArray[np.int64]], dict[str, NDArray[Any]]]:
    """What makes the model's inputs of token ids: one that sees takes rows of its embedding, here of text alone."""
    if not any("inputs_embeds" in port.names for port in model.inputs):
        return feed

    def embedded(ids: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        if order.checkpoint is None:
            raise ConfigError("a model that sees is calibrated with its checkpoint's embedding")
        table = read_headers(order.checkpoint.weights)[EMBEDDING]
        inputs = feed(ids)
        del inputs["input_ids"]
        return {"inputs_embeds": read_float32(table, ids), **inputs}

    return embedded
