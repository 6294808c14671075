"""A tower of 8-bit weights: what the graph of what sees or hears multiplies by, packed as the decoder's is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from pipeline.backends.onnxruntime.files import TOWER, modality_of
from pipeline.backends.onnxruntime.pictures.parts import save
from pipeline.backends.onnxruntime.pictures.trace import HALF, halve

if TYPE_CHECKING:
    import onnx

GROUP = 32


def pack_tower(folder: Path, bits: int) -> None:
    """The tower's matrices in a build's folder as MatMulNBits, rounded to nearest in groups of 32, symmetric.

    By ONNX Runtime's MatMulNBitsQuantizer, which holds the tower in fp32. Everything else in it keeps its type: what a
    convolution or a Gemm multiplies by, and what is added.
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    graph = folder / TOWER.format(modality_of(folder))
    model = onnx.load(graph)
    halved = _widen(model)
    work = MatMulNBitsQuantizer(model, bits=bits, block_size=GROUP, is_symmetric=True)
    work.process()
    made = work.model.model
    if halved:
        halve(made)
    with TemporaryDirectory(dir=folder, prefix="tower-") as place:
        save(made, Path(place) / graph.name)
        for name in (f"{graph.name}.data", graph.name):
            (Path(place) / name).replace(folder / name)


def _widen(model: onnx.ModelProto) -> bool:
    """Matrices that are widened as they are loaded become float32 here; whether there were any."""
    from onnx import numpy_helper

    casts = {node.input[0]: node for node in model.graph.node if node.input and node.input[0].endswith(HALF)}
    for held in model.graph.initializer:
        if held.name in casts:
            values = numpy_helper.to_array(held).astype(np.float32)
            held.CopyFrom(numpy_helper.from_array(values, casts[held.name].output[0]))
    for node in casts.values():
        model.graph.node.remove(node)
    return bool(casts)
