"""What an IR holds: counted in the finished file, not remembered from how it was made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from pipeline.backends.base import Contents
from pipeline.backends.openvino.files import EMBEDDING, LANGUAGE, TOWER, read_model

INDEXES = ("i64", "i32", "u64", "u32", "boolean", "string", "i16", "u16")  # shapes, axes, token ids: no weights
ROTARY = "rotary_emb"
PASSES = ("Convert", "Reshape", "Transpose", "FakeQuantize", "FakeConvert")  # between a weight and its use


@dataclass(frozen=True)
class Stored:
    """A constant that stores weights, or the scales or zero points of weights."""

    node: Any
    role: str  # weight, scale or zero
    bits: int

    @property
    def count(self) -> int:
        return prod(self.node.get_output_shape(0))


def contents(folder: Path) -> Contents:
    """Quantized operators, bits per weight, and the bits that embedding and lm_head got.

    Bits per weight is the storage of all weights with their scales and zero points over the number of weights;
    rotary tables, shapes and activation ranges are neither.
    """
    model = read_model(folder)
    stored = list(_constants(model))
    packed = {s.node.get_friendly_name() for s in stored if s.role == "weight" and s.bits <= 8}
    operators, kept, last = 0, {}, _lm_head(model)
    for node in model.get_ordered_ops():
        if node.get_type_name() not in ("MatMul", "Gather"):
            continue
        source = _source(node, 1 if node.get_type_name() == "MatMul" else 0)
        if source is None or len(source.get_output_shape(0)) < 2:
            continue
        operators += source.get_friendly_name() in packed
        bits = int(source.get_element_type().bitwidth)
        if node.get_friendly_name() == last:
            kept["lm_head"] = bits
        elif node.get_type_name() == "Gather":
            kept["embedding"] = bits
    weights = sum(s.count for s in stored if s.role == "weight")
    storage = sum(s.count * s.bits for s in stored)
    if (folder / LANGUAGE).is_file():  # of one that sees: a table of its own, and the tower's weights are not counted
        table, tower = (_largest(folder, name) for name in (EMBEDDING, TOWER))
        storage, weights = storage + table.count * table.bits, weights + table.count
        kept |= {"embedding": table.bits, "vision": tower.bits}
    return Contents(operators, storage, weights, dict(sorted(kept.items())))


def _largest(folder: Path, name: str) -> Stored:
    return max(_constants(read_model(folder, name)), key=lambda stored: stored.count)


def _constants(model: Any) -> Iterator[Stored]:
    for node in model.get_ordered_ops():
        kind = node.get_element_type() if node.get_type_name() == "Constant" else None
        if kind is None or kind.get_type_name() in INDEXES or prod(node.get_output_shape(0)) <= 1:
            continue
        role = _role(node)
        if role:
            yield Stored(node, role, int(kind.bitwidth))


def _role(constant: Any) -> str | None:
    """weight, scale or zero; None for a table or the range of an activation."""
    port = constant.output(0)
    while True:
        target = next(iter(port.get_target_inputs()), None)
        if target is None:
            return None
        user, index = target.get_node(), target.get_index()
        if user.get_type_name() != "Convert":
            break
        port = user.output(0)
    name = user.get_friendly_name() + constant.get_friendly_name()
    if ROTARY in name or (user.get_type_name() in ("FakeQuantize", "FakeConvert") and index > 0):
        return None
    if user.get_type_name() == "Subtract" and index == 1:
        return "zero"
    if user.get_type_name() == "Multiply" and _is_scale_of(constant, user.input_value(1 - index).get_node()):
        return "scale"
    return "weight"


def _is_scale_of(constant: Any, node: Any) -> bool:
    """Whether a node is a larger, packed constant, behind conversions and the subtraction of its zero point."""
    while node.get_type_name() in ("Convert", "Subtract"):
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or node.get_element_type().bitwidth > 8:
        return False
    return bool(prod(node.get_output_shape(0)) > prod(constant.get_output_shape(0)))


def _source(node: Any, index: int) -> Any | None:
    """The constant behind an operator's weight input, or None when the input is an activation."""
    found = node.input_value(index).get_node()
    while found.get_type_name() in (*PASSES, "Multiply", "Subtract"):
        inputs = [found.input_value(i).get_node() for i in range(found.get_input_size())]
        if found.get_type_name() == "Multiply" and inputs[0].get_type_name() == "Constant":
            inputs.reverse()  # a scale may stand first
        found = inputs[0]
    if found.get_type_name() != "Constant" or found.get_element_type().get_type_name() in INDEXES:
        return None
    return found


def _lm_head(model: Any) -> str:
    """The name of the last MatMul before the logits: NNCF and OpenVINO may rename it."""
    node = model.output("logits").get_node().input_value(0).get_node()
    while node.get_type_name() in ("Convert", "Add", "Multiply"):
        node = node.input_value(0).get_node()
    return str(node.get_friendly_name())
