"""Weight-only int4 and int8 (MatMulNBits, GatherBlockQuantized), one matrix at a time.

Weights are memory-mapped in and appended out, so that memory holds one matrix, not the model. Rounded to nearest, the
kernels are ONNX Runtime's own; MatMulNBitsQuantizer, which loads everything, writes the same bytes. Calibrated, the
integers are GPTQ's (`calibrated`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.backends.base import Form, Order
from pipeline.backends.onnxruntime import calibrated, packing
from pipeline.backends.onnxruntime.calibrated import LOOKED_UP
from pipeline.backends.onnxruntime.contents import embedding_of, matmuls
from pipeline.backends.onnxruntime.convert import convert
from pipeline.backends.onnxruntime.files import DATA, MODEL
from pipeline.backends.onnxruntime.formats import FLOAT, grid, name_of
from pipeline.backends.onnxruntime.graph import append, copy_the_rest, replace_gather, replace_matmul
from pipeline.backends.onnxruntime.sources import source_of
from pipeline.calibration.table import check_table, format_of
from pipeline.errors import QualityError
from pipeline.model.checkpoint import EMBEDDING
from pipeline.types import Checkpoint

if TYPE_CHECKING:
    import onnx_ir as ir


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

    settings, out, graph = order.recipe.settings, order.out, model.graph
    formats = _formats(graph, settings)
    with (out / DATA).open("wb") as data:
        packed = _packed(graph, formats, order, data)
        if not packed:
            raise QualityError("quantized nothing: the graph has no MatMul by a constant matrix", where=str(out))
        level = settings.get("accuracy_level")
        for node, weight, _ in list(matmuls(graph)):
            if weight.name in packed:
                replace_matmul(graph, node, weight, packed[weight.name], level)
        if (found := embedding_of(graph)) is not None:
            gather, table = found
            # a tied table is stored once: what the lm_head multiplies by is looked up
            tensors = packed.get(table.name or "") or packed.get(EMBEDDING)
            if tensors and settings.get("embedding_bits", LOOKED_UP) <= LOOKED_UP:
                replace_gather(graph, gather, tensors)
        copy_the_rest(graph, data)
    model.opset_imports.setdefault("com.microsoft", 1)
    ir.save(model, out / MODEL)


def _formats(graph: ir.Graph, settings: Mapping[str, Any]) -> dict[str, str]:
    """{weight in the graph: its format} of every matrix that is quantized. Raises ArtifactError for a foreign table."""
    weights = {weight.name or "": weight for _, weight, _ in matmuls(graph)}
    if (place := embedding_of(graph)) is not None:
        weights.setdefault(place[1].name or "", place[1])
    if (table := settings.get("table")) is not None:
        tensors = {name: source.tensor if (source := source_of(name)) else name for name in weights}
        tied = {EMBEDDING} if EMBEDDING in table and EMBEDDING not in weights else set()
        check_table(table, {*tensors.values(), *tied})
        found = {name: format_of(table, tensor) for name, tensor in tensors.items()}
    else:
        found = {name: name_of(settings, _bits(name, weight, settings)) for name, weight in weights.items()}
    return {name: kind for name, kind in found.items() if kind != FLOAT}


def _bits(name: str, weight: ir.Value, settings: Mapping[str, Any]) -> int:
    """Of a matrix by its place: the lm_head's (and so a tied table's), the embedding's, or any other's."""
    bits = settings["bits"]
    if name.startswith("lm_head") or any("lm_head" in (node.name or "") for node, _ in weight.uses()):
        return int(settings.get("lm_head_bits", bits))
    return int(settings.get("embedding_bits", 32) if name == EMBEDDING else bits)


def _packed(graph: ir.Graph, formats: Mapping[str, str], order: Order, data: Any) -> dict[str, packing.Stored]:
    """Packed tensors of every weight that is quantized, in the data file: calibrated, or rounded to nearest."""
    if order.recipe.settings.get("algorithm") == "gptq":
        return calibrated.packed(formats, order, data)
    stored = {}
    place = embedding_of(graph)
    places = {place[1].name or "": (place[1], True)} if place else {}
    places |= {weight.name or "": (weight, transposed) for _, weight, transposed in matmuls(graph)}
    for done, (name, kind) in enumerate(formats.items(), 1):
        weight, transposed = places[name]
        matrix = weight.const_value.numpy()
        integers = grid(kind)
        if integers is None:
            continue
        made = packing.rounded(
            np.ascontiguousarray(matrix.T if transposed else matrix), integers, order.recipe.settings
        )
        stored[name] = append(data, made, name)
        order.progress(done, len(formats))
    return stored
