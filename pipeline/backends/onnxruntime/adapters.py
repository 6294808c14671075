"""Switchable adapters as ONNX Runtime takes them: inputs of the graph that are empty unless an adapter is active.

Behind each matrix that an adapter changes, the graph adds (x · A) · B, where A [inputs, rank] and B [rank, outputs] are
inputs with initializers of rank 0, as Olive's have. Weights stay as they are; an .onnx_adapter file holds what takes
the initializers' place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import layout
from pipeline.backends.onnxruntime.files import MODEL, is_fixed
from pipeline.errors import ArtifactError
from pipeline.model.lowrank import LowRank

SPLIT = {"gate_up_proj": ("gate_proj", "up_proj")}  # the model builder takes them apart, and leaves qkv_proj whole
CACHE = "past_key_values.0.key"  # of the type that the graph computes in


MATRICES = ("MatMul", "MatMulNBits")


def add_adapters(package: Path, adapters: Mapping[str, LowRank]) -> None:
    """Give the package's graph its inputs, and write an .onnx_adapter file of each.

    Raises ArtifactError for a graph without the matrices that they change.
    """
    import onnx

    if is_fixed(package):
        raise ArtifactError("graphs of fixed shapes take no adapters", where=str(package))
    folder = package / layout.ADAPTERS
    folder.mkdir()
    model = onnx.load(package / MODEL, load_external_data=False)
    kind = next(entry.type.tensor_type.elem_type for entry in model.graph.input if entry.name == CACHE)
    given = {name: dict(_values(adapter)) for name, adapter in adapters.items()}
    shapes = {place: (a.shape[0], b.shape[1]) for each in given.values() for place, (a, b) in each.items()}
    _add_inputs(model.graph, shapes, kind, package / MODEL)
    onnx.save(model, package / MODEL)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    for name, values in given.items():
        named = {_name(place, letter): pair[i] for place, pair in values.items() for i, letter in enumerate("AB")}
        _write(named, dtype, folder / f"{name}.onnx_adapter")


def _values(adapter: LowRank) -> Iterator[tuple[str, tuple[NDArray[np.float32], NDArray[np.float32]]]]:
    """By the graph's name of each matrix: A [inputs, rank] and B [rank, outputs], with the scale in it."""
    for module, factors in adapter.factors.items():
        parent, _, last = module.replace("self_attn", "attn").rpartition(".")
        parts = SPLIT.get(last, (last,))
        for part, b in zip(parts, np.split(factors.b, len(parts)), strict=True):
            yield f"{parent}.{part}", (factors.a.T, b.T * np.float32(adapter.scale))


def _name(place: str, letter: str) -> str:
    return f"{place}.lora_{letter}.weight"


def _add_inputs(graph: Any, shapes: Mapping[str, tuple[int, int]], kind: int, where: Path) -> None:
    """Exchange the nodes that make the places' outputs. Raises ArtifactError where the graph lacks one."""
    from onnx import helper

    wanted = {f"/{place.replace('.', '/').replace('layers/', 'layers.')}/MatMul/output_0": place for place in shapes}
    nodes = []
    for node in list(graph.node):
        nodes.append(node)
        if node.op_type not in MATRICES or node.output[0] not in wanted:
            continue
        place = wanted.pop(node.output[0])
        whole, base = node.output[0], f"{node.output[0]}/base"
        node.output[0] = base
        a, b = _name(place, "A"), _name(place, "B")
        low, added = f"/{place}/lora_A/output_0", f"/{place}/lora_B/output_0"
        nodes += [
            helper.make_node("MatMul", [node.input[0], a], [low], f"/{place}/lora_A/MatMul"),
            helper.make_node("MatMul", [low, b], [added], f"/{place}/lora_B/MatMul"),
            helper.make_node("Add", [base, added], [whole], f"/{place}/lora/Add"),
        ]
        inputs, outputs = shapes[place]
        rank = f"{place}.lora_rank"  # of each place its own: ONNX Runtime takes dimensions of one name for equal
        for name, shape, empty in ((a, [inputs, rank], (inputs, 0)), (b, [rank, outputs], (0, outputs))):
            graph.input.append(helper.make_tensor_value_info(name, kind, shape))
            graph.initializer.append(helper.make_tensor(name, kind, empty, b"", raw=True))
    if wanted:
        raise ArtifactError(f"the graph has no {sorted(wanted)[0]}, which an adapter changes", where=str(where))
    del graph.node[:]
    graph.node.extend(nodes)


def _write(values: Mapping[str, NDArray[np.float32]], dtype: Any, target: Path) -> None:
    import onnxruntime

    form = onnxruntime.AdapterFormat()
    form.set_adapter_version(1)
    form.set_model_version(1)
    arrays = {name: np.ascontiguousarray(value.astype(dtype)) for name, value in values.items()}
    form.set_parameters({name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()})
    form.export_adapter(str(target))
