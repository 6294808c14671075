"""NNCF on a model: weight compression, and int8 post-training quantization of weights and activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.backends.base import Calibration
from pipeline.backends.nncf import compress_weights, dataset, quiet_nncf, told
from pipeline.backends.openvino.session import feed
from pipeline.errors import ConfigError, suggest
from pipeline.types import Recipe


def compressed(model: Any, recipe: Recipe, calibration: Calibration | None, where: str) -> Any:
    """The OpenVINO model under a recipe; the one given is used up. Raises ToolError with NNCF's words."""
    if recipe.method == "nncf":  # activations stay in floating point
        return compress_weights(model, recipe.settings, calibration, feed, where)
    if recipe.method == "nncf-ptq":
        return _quantized(model, recipe.settings, calibration, where)
    known = ("none", "nncf", "nncf-ptq")
    raise ConfigError(f"openvino has no method '{recipe.method}'", hint=suggest(recipe.method, known))


def _quantized(model: Any, settings: Mapping[str, Any], calibration: Calibration | None, where: str) -> Any:
    """Full int8: weights and activations, with ranges from the calibration split."""
    nncf = quiet_nncf()
    advanced = nncf.AdvancedQuantizationParameters()
    if not settings.get("smooth_quant", True):
        advanced.smooth_quant_alphas = nncf.AdvancedSmoothQuantParameters(matmul=-1)
    data = dataset(calibration, feed)
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
