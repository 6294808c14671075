"""Calibration inputs as ONNX Runtime's quantizer reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def reader(feeds: Iterator[dict[str, Any]]) -> Any:
    """A CalibrationDataReader (what has `get_next` is one) over feeds (input name → array), once through."""

    class Reader:
        def get_next(self) -> dict[str, Any] | None:
            return next(feeds, None)

    return Reader()
