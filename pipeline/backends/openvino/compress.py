"""NNCF on the IR: weight compression, and int8 post-training quantization of weights and activations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.backends.base import Calibration
from pipeline.backends.compression import compress_weights, dataset, quiet_nncf, told
from pipeline.backends.openvino.files import MODEL, read_model, save_model
from pipeline.backends.openvino.session import feed


def compress(export: Path, out: Path, settings: Mapping[str, Any], calibration: Calibration | None) -> None:
    """Weight compression: activations stay in floating point. Raises ToolError with NNCF's words."""
    save_model(compress_weights(read_model(export), settings, calibration, feed, str(export)), out / MODEL)


def quantize(export: Path, out: Path, settings: Mapping[str, Any], calibration: Calibration | None) -> None:
    """Full int8: weights and activations, with ranges from the calibration split. Raises ToolError."""
    nncf = quiet_nncf()
    advanced = nncf.AdvancedQuantizationParameters()
    if not settings.get("smooth_quant", True):
        advanced.smooth_quant_alphas = nncf.AdvancedSmoothQuantParameters(matmul=-1)
    model, data = read_model(export), dataset(calibration, feed)
    quantized = told(
        lambda: nncf.quantize(
            model,
            data["dataset"],
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=data["subset_size"],
            preset=nncf.QuantizationPreset.MIXED,
            advanced_parameters=advanced,
        ),
        str(export),
    )
    save_model(quantized, out / MODEL)
