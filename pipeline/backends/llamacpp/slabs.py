"""A matrix of the checkpoint in another type, some rows at a time on every core: memory holds result and slabs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.harness.host import threads
from pipeline.model.checkpoint import Tensor, read_float32

SLAB = 2**20  # values of a slab: 4 MB in fp32
Convert = Callable[[NDArray[np.float32]], NDArray[Any]]  # rows [n, columns] → their bytes, [n, row bytes]


def converted(tensor: Tensor, row_bytes: int, convert: Convert) -> NDArray[np.uint8]:
    """Bytes uint8 [rows, row_bytes] of a tensor [rows, columns]; `convert` is called for slabs of it, from threads."""
    rows, columns = prod(tensor.shape[:-1]), tensor.shape[-1]
    out = np.empty((rows, row_bytes), np.uint8)
    step = max(1, SLAB // columns)

    def fill(first: int) -> None:
        part = slice(first, min(first + step, rows))
        out[part] = convert(read_float32(tensor, part)).view(np.uint8).reshape(-1, row_bytes)

    with ThreadPoolExecutor(threads()) as pool:
        for _ in pool.map(fill, range(0, rows, step)):
            pass
    return out
