"""What each format of each matrix would take and lose: bits, and the relative error of the matrix's outputs.

A matrix is quantized as a build would, by the backend's own code and with calibration where the build has it, and
measured: t² = tr(Δ H Δᵀ) / tr(W H Wᵀ), with H the second moments of its inputs on windows that the quantizer has not
seen (on those it has, GPTQ flatters itself). The bytes are not kept. Rows are quantized on their own, so that some of
them stand for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Backend, Form
from pipeline.calibration.moments import Matrix, matrices
from pipeline.errors import QualityError
from pipeline.found import Variant
from pipeline.model.checkpoint import EMBEDDING, HEAD, has_own_head, read_headers

ROWS = 384  # of a matrix, that are quantized
HELD_OUT = 4  # one window in so many, at the end

Progress = Callable[[int, int], None]
Table = dict[str, dict[str, Variant]]  # matrix → format → what it takes and loses


def variants(
    backend: Backend,
    form: Form,
    formats: Mapping[str, tuple[str, ...]],
    folder: Path,
    weights: Path,
    ids: NDArray[np.int64],
    scratch: Path,
    progress: Progress,
) -> Table:
    """The table of a checkpoint. `formats` are the candidates: of `embedding`, of `lm_head`, and of the `layers`.

    A tied table is one matrix, the embedding, whose formats are those that both can have; `errors` says what it loses
    as either. Without formats of the `embedding`, which lies apart where a model sees or hears, it is left as it is.
    Raises QualityError where a backend has no format for a matrix.
    """
    tensors = read_headers(weights)
    tied, found = "embedding" in formats and not has_own_head(tensors), Table()
    places = {EMBEDDING: "embedding", HEAD: "lm_head"}
    apart = len(ids) // HELD_OUT
    for matrix in matrices(folder, weights, ids, scratch, progress, apart):
        place = places.get(matrix.name, "layers")
        if place not in formats:
            continue
        names: Iterable[str] = formats[place]
        if tied and matrix.name in places:
            names = [name for name in formats["lm_head"] if name in formats["embedding"]]
        rows = _rows(matrix, ids)
        shape = tensors[matrix.name if matrix.name in tensors else EMBEDDING].shape
        own = {}
        for name in names:
            bits = backend.stored_bits(form, name, shape[1], shape[0])
            if bits is not None:
                own[name] = Variant(bits, {matrix.name: _error(backend, form, name, rows, matrix)})
        if not own:
            raise QualityError(
                f"{backend.name} has no format for {matrix.name} of {shape[1]} inputs: {', '.join(names)}"
            )
        if tied and matrix.name == HEAD:  # one table: of both uses
            own = {name: Variant(v.bits, {**found[EMBEDDING][name].errors, **v.errors}) for name, v in own.items()}
            found[EMBEDDING] = own
        else:
            found[matrix.name] = own
    return found


def _rows(matrix: Matrix, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows [rows, inputs] that stand for all: evenly spread; of the embedding, as often as tokens look them up."""
    whole = matrix.weights()
    if matrix.moments is None:
        tokens = ids.reshape(-1)
        return whole[tokens[:: max(1, len(tokens) // ROWS)]]
    return whole[:: max(1, len(whole) // ROWS)]


def _error(backend: Backend, form: Form, name: str, rows: NDArray[np.float32], matrix: Matrix) -> float:
    change = backend.fitted(form, name, rows, matrix.moments) - rows
    moments = matrix.moments if matrix.held_out is None else matrix.held_out
    if moments is None:
        return float((change * change).sum() / max((rows * rows).sum(), 1e-30))
    return float(np.vdot(change @ moments, change) / max(np.vdot(rows @ moments, rows), 1e-30))
