"""Nodes of an ONNX graph, exchanged for those that read packed integers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.onnxruntime.files import DATA
from pipeline.backends.onnxruntime.packing import Packed, Stored

if TYPE_CHECKING:
    import onnx_ir as ir

ALIGN = 64
MICROSOFT = "com.microsoft"


def append(data: BinaryIO, packed: Packed, name: str) -> Stored:
    """A packed matrix at the end of the data file, as external tensors."""
    blocks = _append(data, packed.blocks, f"{name}_Q{packed.grid.bits}")
    scales = _append(data, packed.scales, f"{name}_scales")
    zeros = None if packed.zeros is None else _append(data, packed.zeros, f"{name}_zero_points")
    return Stored(packed.grid, packed.inputs, blocks, scales, zeros)


def replace_matmul(graph: ir.Graph, node: ir.Node, weight: ir.Value, stored: Stored, level: int | None) -> None:
    """MatMul → MatMulNBits."""
    attributes = {
        "K": stored.inputs,
        "N": stored.outputs,
        "bits": stored.grid.bits,
        "block_size": stored.grid.group,
        **({"accuracy_level": level} if level else {}),
    }
    transpose = node.inputs[1].producer()
    wide = weight.const_value.dtype
    _exchange(graph, node, "MatMulNBits", [node.inputs[0], *_initializers(graph, stored, wide)], attributes)
    if transpose is not None and not transpose.outputs[0].uses():
        graph.remove(transpose, safe=True)


def replace_gather(graph: ir.Graph, node: ir.Node, stored: Stored) -> None:
    """Gather → Reshape, GatherBlockQuantized; a last block that is short is cut off behind it."""
    import onnx_ir as ir

    table, *rest = _initializers(graph, stored, node.outputs[0].dtype)
    width = int(stored.blocks.shape[1] * stored.blocks.shape[2])
    shape = _constant(graph, f"{node.name}/shape", [stored.outputs, width])
    flat = ir.Node("", "Reshape", [table, shape], name=f"{node.name}/Reshape")
    flat.outputs[0].name, flat.outputs[0].dtype = f"{node.name}/Reshape/output_0", ir.DataType.UINT8
    flat.outputs[0].shape = ir.Shape([stored.outputs, width])
    graph.insert_before(node, flat)
    transpose = node.inputs[0].producer()
    attributes = {"bits": stored.grid.bits, "block_size": stored.grid.group, "gather_axis": 0, "quantize_axis": 1}
    _exchange(graph, node, "GatherBlockQuantized", [flat.outputs[0], node.inputs[1], *rest], attributes)
    if transpose is not None and not transpose.outputs[0].uses():
        graph.remove(transpose, safe=True)


def copy_the_rest(graph: ir.Graph, data: BinaryIO) -> None:
    """Initializers that stay as they are, one at a time; those without a use are dropped."""
    import onnx_ir as ir

    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is None or name.endswith("/shape"):
            continue
        if not isinstance(tensor, ir.ExternalTensor) or Path(tensor.path) != Path(data.name):
            value.const_value = _append(data, tensor.numpy(), name, tensor.dtype)


def _exchange(
    graph: ir.Graph, node: ir.Node, kind: str, inputs: list[ir.Value | None], attributes: dict[str, int]
) -> None:
    import onnx_ir as ir

    listed = [ir.AttrInt64(key, value) for key, value in attributes.items()]
    new = ir.Node(MICROSOFT, kind, inputs, attributes=listed, name=f"{node.name}_Q{attributes['bits']}")
    old, output = node.outputs[0], new.outputs[0]
    output.name, output.dtype, output.shape = old.name, old.dtype, old.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], [new], [old], [output])


def _initializers(graph: ir.Graph, stored: Stored, wide: ir.DataType | None) -> list[ir.Value | None]:
    """Its tensors as initializers, once each; the scales as `wide` floats: sessions fold the Cast of a constant."""
    import onnx_ir as ir

    found: list[ir.Value | None] = []
    for tensor in (stored.blocks, stored.scales, stored.zeros):
        if tensor is None:
            continue
        if tensor.name not in graph.initializers:
            value = ir.Value(name=tensor.name, const_value=tensor)
            value.shape, value.dtype = tensor.shape, tensor.dtype
            graph.register_initializer(value)
        value = graph.initializers[tensor.name]
        found.append(
            _cast(graph, value, wide) if tensor is stored.scales and wide not in (None, value.dtype) else value
        )
    return found


def _cast(graph: ir.Graph, value: ir.Value, to: ir.DataType | None) -> ir.Value:
    """An initializer as another type, by one node before all others."""
    import onnx_ir as ir

    for use in value.uses():
        if use.node.op_type == "Cast":
            return use.node.outputs[0]
    node = ir.Node("", "Cast", [value], attributes=[ir.AttrInt64("to", int(to or 0))], name=f"{value.name}/Cast")
    output = node.outputs[0]
    output.name, output.dtype, output.shape = f"{value.name}/Cast/output_0", to, value.shape
    graph.insert_before(graph[0], node)
    return output


def _constant(graph: ir.Graph, name: str, numbers: list[int]) -> ir.Value:
    import onnx_ir as ir

    tensor = ir.tensor(np.asarray(numbers, np.int64), name=name)
    value = ir.Value(name=name, const_value=tensor)
    value.shape, value.dtype = tensor.shape, tensor.dtype
    graph.register_initializer(value)
    return value


def _append(data: BinaryIO, array: NDArray[Any], name: str, dtype: Any = None) -> Any:
    """Append an array to the data file; the external tensor that stands for it."""
    import onnx_ir as ir

    data.write(b"\0" * (-data.tell() % ALIGN))
    offset, flat = data.tell(), np.ascontiguousarray(array)
    data.write(flat.data)
    return ir.ExternalTensor(
        DATA,
        offset,
        flat.nbytes,
        dtype or ir.DataType.from_numpy(flat.dtype),
        shape=ir.Shape(flat.shape),
        name=name,
        base_dir=Path(data.name).parent,
    )
