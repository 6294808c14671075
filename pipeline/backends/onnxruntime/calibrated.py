"""GPTQ's integers for the matrices of an ONNX graph: calibrated a layer at a time, packed as each is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Order
from pipeline.backends.onnxruntime.formats import grid
from pipeline.backends.onnxruntime.graph import append
from pipeline.backends.onnxruntime.packing import Packed, Stored
from pipeline.backends.onnxruntime.packing import packed as pack
from pipeline.backends.onnxruntime.sources import source_of
from pipeline.calibration import gptq, integers
from pipeline.calibration.moments import matrices
from pipeline.errors import ArtifactError, ConfigError


def packed(formats: Mapping[str, str], order: Order, data: BinaryIO) -> dict[str, Stored]:
    """{weight of the graph: its packed tensors} in the data file, for `formats` {weight: format}.

    Raises ConfigError without calibration data, ArtifactError for a graph with weights that the checkpoint lacks.
    """
    if order.calibration is None or order.checkpoint is None:
        raise ConfigError("this recipe needs calibration data", hint="set evaluate.calibration")
    sources = {name: source_of(name) for name in formats}
    unknown = [name for name, source in sources.items() if source is None]
    if unknown:
        raise ArtifactError(f"the graph's {unknown[0]} is no tensor of the checkpoint", where=str(order.out))
    folder, weights = order.checkpoint.folder, order.checkpoint.weights
    stored: dict[str, Stored] = {}
    for matrix in matrices(folder, weights, order.calibration.ids, order.out, order.progress):
        for name, source in sources.items():
            if source and source.tensor == matrix.name and name not in stored:
                rows = source.rows(len(whole := matrix.weights()), order.checkpoint.config)
                stored[name] = append(data, _packed(whole[rows], matrix.moments, formats[name]), name)
    missing = sorted(set(formats) - set(stored))
    if missing:
        raise ArtifactError(f"the checkpoint has no tensor for {missing[0]}", where=str(weights))
    return stored


def quantized(weights: NDArray[np.float32], moments: NDArray[np.float32] | None, kind: str) -> gptq.Quantized:
    """A matrix [inputs, outputs] in a format. Raises ConfigError for `float`."""
    found = grid(kind)
    if found is None:
        raise ConfigError(f"'{kind}' is no format of integers")
    return integers.quantized(weights, moments, found)


def _packed(rows: NDArray[np.float32], moments: NDArray[np.float32] | None, kind: str) -> Packed:
    return pack(quantized(np.ascontiguousarray(rows.T), moments, kind))
