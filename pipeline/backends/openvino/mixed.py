"""A format for each matrix, calibrated a layer at a time: GPTQ's integers, packed as OpenVINO's plugins read them.

A weight is Constant (u4, i4, u8, i8) → Convert → Subtract (a zero point, where there is one) → Multiply (a scale of 16
bits) → Reshape → Convert: the form that NNCF writes, and that the plugins compute with, unexpanded.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Order
from pipeline.calibration.calibrated import calibrated
from pipeline.calibration.gptq import Quantized
from pipeline.calibration.integers import grid, quantized
from pipeline.calibration.table import check_table, format_of
from pipeline.errors import ConfigError
from pipeline.model.checkpoint import EMBEDDING, HEAD

WEIGHT = re.compile(r"self\.module\.(?P<tensor>.+?)\.(?:_openvino_orig_)?weight")  # a constant's name in the trace
USES = {"MatMul": 1, "Gather": 0}  # operators of a matrix, and which of their inputs it is
SCALE_BITS = 16


def mixed(model: Any, order: Order, where: str) -> Any:
    """The model with the formats of the recipe's table {tensor of the checkpoint: format}.

    Raises ConfigError without calibration data, ArtifactError for a table of another model.
    """
    if order.calibration is None or order.checkpoint is None:
        raise ConfigError("this recipe needs calibration data", hint="set evaluate.calibration")
    table, places, checkpoint = order.recipe.settings["table"], _places(model), order.checkpoint
    check_table(table, places)
    tied = HEAD not in table and HEAD in places
    if tied:  # what the lm_head multiplies by is looked up
        places[HEAD] += places.pop(EMBEDDING)
    every = slice(None)
    found = calibrated(
        *(checkpoint.folder, checkpoint.weights, order.calibration.ids),
        {name: [(every, grid(format_of(table, name)))] for name in places},
        *(order.out, order.progress),
        epochs=order.recipe.settings.get("distill_epochs", 0),
        once=tied,
    )
    for name, (made,) in found:
        _replace(places[name], made)
    model.validate_nodes_and_infer_types()
    return model


def fitted(kind: str, rows: NDArray[np.float32], moments: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Rows [rows, inputs] of a matrix as OpenVINO reads them in a format."""
    made = quantized(np.ascontiguousarray(rows.T), moments, grid(kind))
    return np.ascontiguousarray(made.values().T)


def stored_bits(kind: str, inputs: int, outputs: int) -> int | None:
    """Bits of a matrix in a format; None where its groups do not divide the rows. Raises ConfigError for an unknown
    format.
    """
    found = grid(kind)
    beside = SCALE_BITS + (0 if found.symmetric else found.bits)
    return None if inputs % found.group else outputs * (inputs * found.bits + beside * (inputs // found.group))


def _places(model: Any) -> dict[str, list[Any]]:
    """{tensor of the checkpoint: where it is used}: matrices behind constants alone."""
    found: dict[str, list[Any]] = {}
    for node in model.get_ordered_ops():
        at = USES.get(node.get_type_name())
        if at is None:
            continue
        source = node.input_value(at).get_node()
        while source.get_type_name() in ("Convert", "Reshape"):
            source = source.input_value(0).get_node()
        name = WEIGHT.fullmatch(source.get_friendly_name())
        if source.get_type_name() == "Constant" and name and len(source.get_output_shape(0)) == 2:
            tensor = f"{name['tensor']}.weight"
            if tensor == EMBEDDING and node.get_type_name() == "MatMul":
                tensor = HEAD  # a tied table has the embedding's name
            found.setdefault(tensor, []).append(node.input(at))
    return found


def _replace(users: list[Any], made: Quantized) -> None:
    """Give all users of a matrix its integers instead."""
    import openvino
    from openvino import opset13 as op

    inputs, outputs = made.integers.shape
    shape = (outputs, len(made.scales), made.grid.group)
    values = np.ascontiguousarray(made.integers.T).reshape(shape)
    bits, half = made.grid.bits, openvino.Type.f16
    if made.grid.symmetric:
        signed = values.astype(np.int16) - made.grid.middle
        packed = op.constant(signed.astype(np.int8), dtype=openvino.Type.i4 if bits == 4 else openvino.Type.i8)
        wide = op.convert(packed, half)
    else:
        kind = openvino.Type.u4 if bits == 4 else openvino.Type.u8
        zeros = op.constant(np.ascontiguousarray(made.zeros.T)[:, :, None], dtype=kind)
        wide = op.subtract(op.convert(op.constant(values, dtype=kind), half), op.convert(zeros, half))
    scales = op.constant(np.ascontiguousarray(made.scales.T)[:, :, None].astype(np.float16))
    whole = op.reshape(op.multiply(wide, scales), op.constant(np.array([outputs, inputs], np.int64)), False)
    for user in users:
        kind = user.get_element_type()
        user.replace_source_output((whole if kind == half else op.convert(whole, kind)).output(0))
