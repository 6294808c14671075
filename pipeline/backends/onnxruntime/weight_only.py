"""Weight-only int4 and int8 (MatMulNBits), one matrix at a time.

Weights are memory-mapped in and appended out, so that memory holds one matrix, not the model. The kernels are
ONNX Runtime's own; MatMulNBitsQuantizer, which loads everything, writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Form, Order
from pipeline.backends.onnxruntime.contents import matmuls
from pipeline.backends.onnxruntime.convert import convert
from pipeline.backends.onnxruntime.files import DATA, MODEL
from pipeline.errors import ConfigError, QualityError
from pipeline.types import Checkpoint

if TYPE_CHECKING:
    import onnx_ir as ir

ALIGN = 64

Packed = tuple[NDArray[np.uint8], NDArray[Any], NDArray[np.uint8] | None]


def quantize(export: Path, order: Order) -> None:
    """Write model.onnx and its data with every constant MatMul replaced. Raises QualityError if there is none."""
    import onnx_ir as ir

    quantize_model(ir.load(export / MODEL), order)


def stream(checkpoint: Checkpoint, form: Form, order: Order) -> None:
    """The same while the model builder would save: its tensors are lazy."""
    convert(checkpoint, form, order.out, save=lambda model: quantize_model(model, order))


def quantize_model(model: ir.Model, order: Order) -> None:
    """The same from a model whose tensors are external or lazy: each is read once, and not kept."""
    import onnx_ir as ir

    settings, out = order.recipe.settings, order.out
    found = [(*place, _bits(place[1], settings)) for place in matmuls(model.graph)]
    chosen = [(node, weight, transposed, bits) for node, weight, transposed, bits in found if bits <= 8]
    if not chosen:
        raise QualityError("quantized nothing: the graph has no MatMul by a constant matrix", where=str(out))
    with (out / DATA).open("wb") as data:
        for done, (node, weight, transposed, bits) in enumerate(chosen, 1):
            matrix = weight.const_value.numpy()
            matrix = np.ascontiguousarray(matrix.T if transposed else matrix)
            _replace(model.graph, node, weight, _pack(matrix, bits, settings), matrix.shape, bits, settings, data)
            order.progress(done, len(chosen))
        _copy_the_rest(model.graph, data)
    model.opset_imports.setdefault("com.microsoft", 1)
    ir.save(model, out / MODEL)


def _bits(weight: ir.Value, settings: Mapping[str, Any]) -> int:
    if "lm_head" in (weight.name or "") or any("lm_head" in (node.name or "") for node, _ in weight.uses()):
        return int(settings.get("lm_head_bits", settings["bits"]))
    return int(settings["bits"])


def _pack(matrix: NDArray[Any], bits: int, settings: Mapping[str, Any]) -> Packed:
    """Packed blocks uint8 [N, K/group, bytes], scales [N, K/group] and zero points of a matrix [K, N]."""
    rows, columns = matrix.shape
    group, symmetric = int(settings["group_size"]), bool(settings.get("symmetric", True))
    if group < 16 or group & (group - 1):
        raise ConfigError(f"group size {group} is no power of two from 16 up", hint="ONNX Runtime takes 16 to 256")
    if rows % group:
        raise ConfigError(f"group size {group} does not divide {rows} channels")
    if settings.get("algorithm", "rtn") == "k_quant":
        return _k_quant(matrix, bits, group)
    from onnxruntime.capi import _pybind_state as kernels

    blocks = rows // group
    packed = np.zeros((columns, blocks, group * bits // 8), np.uint8)
    scales = np.zeros((columns, blocks), matrix.dtype)
    zeros = np.zeros((columns, (blocks * bits + 7) // 8), np.uint8)
    kernel = kernels.quantize_matmul_8bits if bits == 8 else kernels.quantize_matmul_4bits
    kernel(packed, matrix, scales, zeros, group, columns, rows, symmetric)
    return packed, scales, None if symmetric else zeros


def _k_quant(matrix: NDArray[Any], bits: int, group: int) -> Packed:
    """llama.cpp's search for scale and minimum, as ONNX Runtime implements it; always asymmetric."""
    from onnxruntime.quantization.neural_compressor.weight_only import quant_tensor_k_quant_cpu

    columns, blocks = matrix.shape[1], matrix.shape[0] // group
    with np.errstate(divide="ignore", invalid="ignore"):
        values, scales, zeros = quant_tensor_k_quant_cpu(matrix.T, bits, group)
    packed = values.astype(np.uint8).reshape(columns, blocks, group)
    zeros = zeros.reshape(columns, blocks)
    if bits == 4:
        packed = packed[..., ::2] | packed[..., 1::2] << 4
        if blocks % 2:  # an unused half byte holds the default zero point
            zeros = np.pad(zeros, ((0, 0), (0, 1)), constant_values=8)
        zeros = zeros[:, ::2] | zeros[:, 1::2] << 4
    return packed, scales.reshape(columns, blocks).astype(matrix.dtype), zeros.astype(np.uint8)


def _replace(
    graph: ir.Graph,
    node: ir.Node,
    weight: ir.Value,
    packed: Packed,
    shape: tuple[int, ...],
    bits: int,
    settings: Mapping[str, Any],
    data: BinaryIO,
) -> None:
    """MatMul → MatMulNBits, with packed weights, scales and zero points as external data."""
    import onnx_ir as ir

    names = (f"_Q{bits}", "_scales", "_zero_points")
    inputs = [node.inputs[0]]
    for array, suffix in zip(packed, names, strict=True):
        if array is not None:
            value = ir.Value(name=f"{weight.name}{suffix}", const_value=_append(data, array, f"{weight.name}{suffix}"))
            value.shape, value.dtype = value.const_value.shape, value.const_value.dtype
            graph.register_initializer(value)
            inputs.append(value)
    attributes = {"K": shape[0], "N": shape[1], "bits": bits, "block_size": settings["group_size"]}
    if settings.get("accuracy_level"):
        attributes["accuracy_level"] = settings["accuracy_level"]
    new = ir.Node(
        "com.microsoft",
        "MatMulNBits",
        inputs,
        attributes=[ir.AttrInt64(key, value) for key, value in attributes.items()],
        name=f"{node.name}_Q{bits}",
    )
    old, output = node.outputs[0], new.outputs[0]
    output.name, output.dtype, output.shape = old.name, old.dtype, old.shape
    transpose = node.inputs[1].producer()
    ir.convenience.replace_nodes_and_values(graph, node, [node], [new], [old], [output])
    if transpose is not None and not transpose.outputs[0].uses():
        graph.remove(transpose, safe=True)


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


def _copy_the_rest(graph: ir.Graph, data: BinaryIO) -> None:
    """Initializers that stay as they are, one at a time; those without a use are dropped."""
    import onnx_ir as ir

    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor) or Path(tensor.path) != Path(data.name):
            value.const_value = _append(data, tensor.numpy(), name, tensor.dtype)
