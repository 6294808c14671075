"""Calibration inputs as ONNX Runtime's quantizer reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def reader(feeds: Iterator[dict[str, Any]]) -> Any:
    """A CalibrationDataReader over feeds (input name → array), once through."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped base
        def get_next(self) -> dict[str, Any] | None:
            return next(feeds, None)

    return Reader()
