"""The text that calibrates, as token ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.entries import CalibrationText
from pipeline.model.texts import windows
from pipeline.model.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOWS = 16  # where a recipe does not say `calibration_windows`


def calibration_ids(model: Path, wanted: CalibrationText, settings: Mapping[str, Any]) -> NDArray[np.int64]:
    """Token ids int64 [windows, length] of a recipe's calibration text, by the tokenizer of a fetched model."""
    return first_windows(model, wanted, settings.get("calibration_windows", WINDOWS))


def first_windows(model: Path, wanted: CalibrationText, count: int) -> NDArray[np.int64]:
    """The first `count` windows of the text. Raises DataError where it is too short for one."""
    return windows(load_tokenizer(model), Path(wanted.text), wanted.window, wanted.window * count)
