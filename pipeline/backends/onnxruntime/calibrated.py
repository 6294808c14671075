"""GPTQ's integers for the matrices of an ONNX graph: calibrated a layer at a time, packed as each is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Order
from pipeline.backends.onnxruntime.formats import grid
from pipeline.backends.onnxruntime.graph import append
from pipeline.backends.onnxruntime.packing import Stored
from pipeline.backends.onnxruntime.packing import packed as pack
from pipeline.backends.onnxruntime.sources import Source, source_of
from pipeline.calibration import gptq, integers
from pipeline.calibration.calibrated import calibrated
from pipeline.errors import ArtifactError, ConfigError
from pipeline.model.checkpoint import EMBEDDING, HEAD, read_headers

LOOKED_UP = 8  # bits up to which a table is looked up packed; an `embedding_bits` above keeps a tied table as it is


def packed(formats: Mapping[str, str], order: Order, data: BinaryIO) -> dict[str, Stored]:
    """{weight of the graph: its packed tensors} in the data file, for `formats` {weight: format}.

    Raises ConfigError without calibration data, ArtifactError for a graph with weights that the checkpoint lacks.
    """
    if order.calibration is None or order.checkpoint is None:
        raise ConfigError("this recipe needs calibration data", hint="set evaluate.calibration")
    checkpoint, settings = order.checkpoint, order.recipe.settings
    names: dict[str, list[str]] = {}  # weights of the graph that are a tensor's, in the order of its rows
    grids: dict[str, list[tuple[slice, gptq.Grid]]] = {}
    tensors = read_headers(checkpoint.weights)
    for name, kind in formats.items():
        source = _source(name, order)
        tensor = tensors.get(source.tensor, tensors[EMBEDDING] if source.tensor == HEAD else None)
        if tensor is None:
            raise ArtifactError(f"the checkpoint has no tensor for {name}", where=str(checkpoint.weights))
        rows = source.rows(tensor.shape[0], checkpoint.config)
        names.setdefault(source.tensor, []).append(name)
        grids.setdefault(source.tensor, []).append((rows, _integers(kind)))
    once = HEAD not in tensors and EMBEDDING not in grids and settings.get("embedding_bits", LOOKED_UP) <= LOOKED_UP
    found = calibrated(
        *(checkpoint.folder, checkpoint.weights, order.calibration.ids, grids, order.out, order.progress),
        epochs=settings.get("distill_epochs", 0),
        once=once and HEAD in grids,
    )
    return {
        name: append(data, pack(part), name)
        for tensor, parts in found
        for name, part in zip(names[tensor], parts, strict=True)
    }


def quantized(weights: NDArray[np.float32], moments: NDArray[np.float32] | None, kind: str) -> gptq.Quantized:
    """A matrix [inputs, outputs] in a format. Raises ConfigError for `float`."""
    return integers.quantized(weights, moments, _integers(kind))


def _integers(kind: str) -> gptq.Grid:
    found = grid(kind)
    if found is None:
        raise ConfigError(f"'{kind}' is no format of integers")
    return found


def _source(name: str, order: Order) -> Source:
    found = source_of(name)
    if found is None:
        raise ArtifactError(f"the graph's {name} is no tensor of the checkpoint", where=str(order.out))
    return found
