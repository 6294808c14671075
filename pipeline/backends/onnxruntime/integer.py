"""int8 by ONNX Runtime's quantizer: dynamic (MatMulInteger), and static in QDQ form, weights and activations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.backends.base import Calibration, Order
from pipeline.backends.onnxruntime.calibration import reader
from pipeline.backends.onnxruntime.files import MODEL
from pipeline.errors import ConfigError

CALIBRATIONS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}


def quantize_dynamic(export: Path, order: Order) -> None:
    """Weights int8 ahead, activations while running."""
    from onnxruntime import quantization

    settings = order.recipe.settings
    _only_8_bits(settings)
    quantization.quantize_dynamic(
        export / MODEL,
        order.out / MODEL,
        weight_type=quantization.QuantType.QInt8,
        per_channel=bool(settings.get("per_channel", False)),
        reduce_range=bool(settings.get("reduce_range", False)),
        op_types_to_quantize=["MatMul"],
        use_external_data_format=True,
        extra_options={"MatMulConstBOnly": True},
    )


def quantize_static(export: Path, order: Order) -> None:
    """Weights int8 and activations of 8 or 16 bits, with ranges from the calibration split.

    Half of the feeds have a non-empty cache: ranges seen on an empty one alone generate garbage.
    """
    from onnxruntime import quantization

    settings, calibration = order.recipe.settings, order.calibration
    _only_8_bits(settings)
    if calibration is None:
        raise ConfigError("method static needs calibration data", hint="set evaluate.calibration")
    wide = settings.get("activation_bits", 8) == 16
    quantization.quantize_static(
        export / MODEL,
        order.out / MODEL,
        _reader(export, calibration),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["MatMul"],
        per_channel=bool(settings.get("per_channel", False)),
        reduce_range=bool(settings.get("reduce_range", False)),
        activation_type=quantization.QuantType.QUInt16 if wide else quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=getattr(quantization.CalibrationMethod, CALIBRATIONS[settings.get("calibration", "minmax")]),
        use_external_data_format=True,
    )


def _only_8_bits(settings: Mapping[str, Any]) -> None:
    if settings.get("bits", 8) != 8:
        raise ConfigError(f"this method has 8 bits, not {settings['bits']}", hint="set bits: 8")


def _reader(export: Path, calibration: Calibration) -> Any:
    from pipeline.backends.onnxruntime.session import OnnxSession

    session = OnnxSession(export)

    def feeds() -> Iterator[dict[str, Any]]:
        for window in calibration.ids:
            half = len(window) // 2
            first, second = window[None, :half], window[None, half:]
            yield session.feed(first)
            yield session.feed(second, session.past_after(first))

    return reader(feeds())
