"""What an ONNX decoder holds: counted in the finished file, not remembered from how it was made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.backends.base import Contents
from pipeline.backends.onnxruntime.files import EMBEDDING, MODEL, PROMPT, TOWER, is_fixed, modality_of

if TYPE_CHECKING:
    import onnx_ir as ir

CACHES = ("cos_cache", "sin_cache", "rotary_emb")  # tables, not weights
PACKED_AT = {"MatMulNBits": 1, "DequantizeLinear": 0, "MatMulInteger": 1, "GatherBlockQuantized": 0}


def contents(folder: Path) -> Contents:
    """Quantized operators, bits per weight, and the bits that embedding and lm_head got.

    Bits per weight is the storage of all weights with their scales and zero points over the number of weights;
    rotary tables and constants of the graph are neither.
    """
    import onnx_ir as ir

    graph = ir.load(folder / (PROMPT if is_fixed(folder) else MODEL)).graph
    stored = weights = 0
    operators: set[str] = set()
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is None or _is_constant(name, tensor):
            continue
        stored += 8 * tensor.nbytes
        role = _role(value)
        if role == "packed":
            operators.update(node.name or name for node, _ in _real_uses(value))
        weights += _count(value, tensor, role)
    kept = {
        place: _bits(graph, words) for place, words in (("embedding", ("embed_tokens",)), ("lm_head", ("lm_head",)))
    }
    if kept["embedding"] is None:  # tied: one table
        kept["embedding"] = kept["lm_head"]
    if (folder / EMBEDDING).is_file():  # of one that sees or hears: a graph of its own, and the tower's is not counted
        modality = modality_of(folder)
        table, tower = _largest(folder / EMBEDDING), _largest(folder / TOWER.format(modality))
        stored, weights = stored + 8 * table.nbytes, weights + table.size
        kept |= {"embedding": int(8 * table.dtype.itemsize), modality: int(8 * tower.dtype.itemsize)}
    return Contents(len(operators), stored, weights, kept)


def matmuls(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Value, bool]]:
    """(node, stored weight, transposed) of every MatMul by a constant matrix, tied embeddings included."""
    for node in list(graph):
        if node.op_type != "MatMul" or node.domain not in ("", "ai.onnx"):
            continue
        weight, transposed = node.inputs[1], False
        producer = weight.producer() if weight is not None else None
        if producer is not None and producer.op_type == "Transpose":
            weight, transposed = producer.inputs[0], True
        if weight is not None and weight.const_value is not None and len(weight.const_value.shape) == 2:
            yield node, weight, transposed


def embedding_of(graph: ir.Graph) -> tuple[ir.Node, ir.Value] | None:
    """(node, table) of the Gather that looks tokens up; a tied table is the lm_head's, behind a Transpose."""
    for node in graph:
        if node.op_type != "Gather" or node.inputs[1] is None or node.inputs[1].name != "input_ids":
            continue
        table = node.inputs[0]
        producer = table.producer() if table is not None else None
        if producer is not None and producer.op_type == "Transpose":
            table = producer.inputs[0]
        if table is not None and table.const_value is not None and len(table.const_value.shape) == 2:
            return node, table
    return None


def _largest(path: Path) -> Any:
    """Of a graph's stored tensors, or of those that are packed, where some are."""
    import onnx_ir as ir

    values = [value for value in ir.load(path).graph.initializers.values() if value.const_value is not None]
    packed = [value for value in values if _role(value) == "packed"]
    return max((value.const_value for value in packed or values), key=lambda tensor: int(tensor.size))


def _is_constant(name: str, tensor: Any) -> bool:
    if any(cache in name for cache in CACHES) or tensor.dtype.is_integer() and tensor.size <= 2:
        return True
    return bool(tensor.size <= 1 or (tensor.dtype.is_integer() and tensor.dtype.itemsize >= 4))


def _real_uses(value: ir.Value) -> list[tuple[Any, int]]:
    """(consumer, input index), looking through Reshape, Transpose and Cast of a packed weight."""
    found = []
    for usage in value.uses():
        node, index = usage
        if node.op_type in ("Reshape", "Transpose", "Cast") and index == 0:
            found += _real_uses(node.outputs[0])
        else:
            found.append((node, index))
    return found


def _role(value: ir.Value) -> str:
    """`packed` for a quantized weight, `beside` for scales and zero points, `plain` for any other weight."""
    packed = beside = False
    integer = value.const_value is not None and value.const_value.dtype.is_integer()
    for node, index in _real_uses(value):
        at = PACKED_AT.get(node.op_type)
        if at is None:
            continue
        packed |= index == at and integer
        beside |= index > at
    if packed:
        return "packed"
    return "beside" if beside or (value.name or "").endswith(("_scale", "_zero_point")) else "plain"


def _count(value: ir.Value, tensor: Any, role: str) -> int:
    if role == "beside":
        return 0
    for node, index in _real_uses(value):
        if node.op_type == "MatMulNBits" and index == 1:
            return int(node.attributes["K"].as_int() * node.attributes["N"].as_int())
        if node.op_type == "GatherBlockQuantized" and index == 0 and "bits" in node.attributes:
            return int(8 * tensor.size // node.attributes["bits"].as_int())
    return int(tensor.size)


def _bits(graph: ir.Graph, words: tuple[str, ...]) -> float | None:
    """Bits per element of the largest stored tensor whose name has one of the words; None where there is none."""
    found: tuple[int, float] | None = None
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is None or not any(word in name for word in words) or _role(value) == "beside":
            continue
        if _is_constant(name, tensor):
            continue
        count = _count(value, tensor, "packed")
        if found is None or count > found[0]:
            bits = 8 * tensor.nbytes / count
            found = (count, int(bits) if bits == int(bits) else round(bits, 2))
    return found[1] if found else None
