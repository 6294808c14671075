"""GPTQ's spreading of errors (arXiv 2210.17323) around a quantizer that takes whole blocks: a kernel's own formats.

A block of columns is quantized by the kernel, and its error spread over the columns behind it so that the outputs on
the calibration data change least: of the inverse Hessian's upper Cholesky factor U, rest -= E · U_bb⁻¹ · U_b,rest.
Within a block, the kernel's own rounding counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration.gptq import inverse_factor

Rows = NDArray[np.float32]
Kernel = Callable[[Rows, slice], Rows]  # rows [rows, block] and which columns they are → as the runtime reads them


def compensated(rows: Rows, moments: NDArray[np.float32], block: int, kernel: Kernel) -> Rows:
    """Rows [rows, inputs] as `kernel` quantizes them, block by block; the last block may be short."""
    factor = inverse_factor(moments)
    rest, out = rows.copy(), np.empty_like(rows)
    for first in range(0, rows.shape[1], block):
        part = slice(first, min(first + block, rows.shape[1]))
        out[:, part] = kernel(np.ascontiguousarray(rest[:, part]), part)
        if part.stop < rows.shape[1]:
            error = rest[:, part] - out[:, part]
            rest[:, part.stop :] -= error @ np.linalg.solve(factor[part, part], factor[part, part.stop :])
    return out
