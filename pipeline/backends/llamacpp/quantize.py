"""GGUF → GGUF of fewer bits, by llama.cpp's own quantizer."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.backends.base import Calibration, Order, Progress
from pipeline.backends.llamacpp.files import MODEL, model_file, read_gguf, type_number
from pipeline.backends.llamacpp.imatrix import Importance, check_importance, collect, read_importance
from pipeline.backends.llamacpp.library import last_said, library
from pipeline.errors import ConfigError, ToolError
from pipeline.harness.host import threads

BUFFER = 256 * 2**20  # bytes of rows in memory at once


def quantize(export: Path, order: Order) -> None:
    """Write the quantized file. Raises ToolError with llama.cpp's words."""
    settings, source = order.recipe.settings, model_file(export)
    importance = _importance(source, settings.get("imatrix"), order.calibration, order.progress)
    run(source, order.out / MODEL, file_type(settings), importance)


def file_type(settings: Mapping[str, Any]) -> int:
    """The number of a recipe's type. Raises ConfigError for an unknown one."""
    return type_number(str(settings["type"]), "recipe of llamacpp")


def run(source: Path, target: Path, number: int, importance: Importance | None, dry_run: bool = False) -> None:
    """llama.cpp's quantizer on a file. A dry run only tells what it would do, and writes nothing."""
    functions = library()
    parameters = functions.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread, parameters.max_buf_size = number, threads(), BUFFER
    parameters.dry_run = dry_run
    kept = _pass_importance(functions, parameters, importance)
    code = functions.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters))
    del kept
    if code:
        raise ToolError(f"llama.cpp cannot quantize it: {last_said()}", where=str(source))


def _importance(source: Path, wanted: Any, calibration: Calibration | None, progress: Progress) -> Importance | None:
    """None, the file that the recipe names, or what the calibration split gives."""
    if not wanted:
        return None
    if wanted == "calibration":
        if calibration is None:
            raise ConfigError("this recipe needs calibration data", hint="set evaluate.calibration")
        return collect(source, calibration.ids, progress)
    return importance_file(str(wanted), source)


def importance_file(wanted: str, source: Path) -> Importance:
    """The matrix in a file, held against the names and shapes of the GGUF file `source`."""
    importance = read_importance(Path(wanted))
    check_importance(importance, read_gguf(source), wanted)
    return importance


def _pass_importance(functions: Any, parameters: Any, importance: Importance | None) -> Any:
    """Point the parameters at the matrix; the result keeps its memory alive."""
    if importance is None:
        return None
    entries = (functions.llama_model_imatrix_data * (len(importance) + 1))()  # the last one is empty: the end
    for entry, (name, values) in zip(entries, importance.items(), strict=False):
        entry.name, entry.size = name.encode(), values.size
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    parameters.imatrix = ctypes.cast(entries, type(parameters.imatrix))
    return entries, importance
