"""Every matrix of a checkpoint on its grid: by GPTQ a layer at a time, and where it is asked for trained end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration.gptq import Grid, Quantized
from pipeline.calibration.integers import quantized
from pipeline.calibration.moments import matrices
from pipeline.model.checkpoint import EMBEDDING, HEAD

Slices = Sequence[tuple[slice, Grid]]  # of a matrix's outputs, and their grid


def calibrated(
    folder: Path,
    weights: Path,
    ids: NDArray[np.int64],
    grids: Mapping[str, Slices],
    scratch: Path,
    progress: Callable[[int, int], None],
    epochs: int = 0,
    once: bool = False,
) -> Iterator[tuple[str, Sequence[Quantized]]]:
    """(matrix of the checkpoint, its slices [inputs, outputs]) of every one in `grids`, in the checkpoint's order.

    One matrix is held at a time. With `epochs`, all are, a byte a weight, and their scales are trained for so many
    passes over `ids` [windows, length]; once: what is the lm_head's is looked up for the embedding, too.
    """
    held: dict[str, Sequence[Quantized]] = {}
    for matrix in matrices(folder, weights, ids, scratch, progress):
        if slices := grids.get(matrix.name):
            whole = matrix.weights()
            parts = [quantized(np.ascontiguousarray(whole[rows].T), matrix.moments, grid) for rows, grid in slices]
            if epochs:
                held[matrix.name] = parts
            else:
                yield matrix.name, parts
    if held:
        from pipeline.calibration.distilled import distilled

        known = {**held, EMBEDDING: held[HEAD]} if once else held
        made = distilled(folder, weights, known, ids, epochs, progress, scratch)
        yield from ((name, made[name]) for name in held)
