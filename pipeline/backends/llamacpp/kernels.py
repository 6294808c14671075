"""ggml's quantization kernels, called for rows that are in memory."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import QualityError


@cache
def _functions() -> tuple[Any, Any]:
    """ggml_quantize_chunk and ggml_validate_row_data."""
    from llama_cpp._ctypes_extensions import load_shared_library
    from llama_cpp._ggml import libggml_base_path

    library = load_shared_library("ggml-base", libggml_base_path)
    quantize, validate = library.ggml_quantize_chunk, library.ggml_validate_row_data
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    quantize.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    quantize.restype = ctypes.c_size_t
    validate.argtypes = [ctypes.c_int, pointer, ctypes.c_size_t]
    validate.restype = ctypes.c_bool
    return quantize, validate


def quantized_rows(rows: NDArray[np.float32], kind: str, importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
    """Bytes uint8 [n, row bytes] of rows float32 [n, columns] as GGUF type `kind`; importance [columns] or none.

    Raises QualityError for weights that are not finite, or whose scales are not.
    """
    import gguf

    quantize, validate = _functions()
    number, (count, columns) = gguf.GGMLQuantizationType[kind], rows.shape
    block, held = gguf.GGML_QUANT_SIZES[number]
    out = np.empty((count, columns // block * held), np.uint8)
    weights = None if importance is None else importance.ctypes.data
    quantize(int(number), rows.ctypes.data, out.ctypes.data, 0, count, columns, weights)
    if not (np.isfinite(rows).all() and validate(int(number), out.ctypes.data, out.nbytes)):
        raise QualityError(f"the weights hold values that are not finite, or too large for {kind}")
    return out
