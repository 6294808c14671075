"""A GGUF type for each matrix, calibrated a layer at a time: ggml's kernels weigh by the inputs' second moments, and
what a block of columns loses is spread over those behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Form, Order
from pipeline.backends.llamacpp.convert import stored_type
from pipeline.backends.llamacpp.files import MODEL, read_gguf, type_number
from pipeline.backends.llamacpp.kernels import quantized_rows
from pipeline.backends.llamacpp.stream import as_quantized
from pipeline.backends.llamacpp.writer import Planned, describe, plan_tensors, stored, write_header
from pipeline.calibration.blocks import compensated
from pipeline.calibration.moments import matrices
from pipeline.calibration.table import check_table, format_of
from pipeline.errors import ConfigError, suggest
from pipeline.model.checkpoint import EMBEDDING, HEAD, read_headers
from pipeline.types import Checkpoint

SPREAD = 256  # columns whose error is spread at once: a K-quant's block, and eight of the others
TABLE_ROWS = 8192  # rows above which a matrix is done in parts
EXACT = ("Q8_0", "F16", "BF16", "F32")  # types that leave nothing to spread
# what a file is called by the type of most of its weights (enum llama_ftype has no name for a mixture of one's own)
CALLED = {"Q2_K": "Q2_K", "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}


def quantize(export: Path, order: Order) -> None:
    """The same as `stream`: the checkpoint is run in any case."""
    if order.checkpoint is None:
        raise ConfigError("this recipe needs the checkpoint")
    stream(order.checkpoint, {"type": "auto"}, order)


def stream(checkpoint: Checkpoint, form: Form, order: Order) -> None:
    """Write model.gguf with the types of the recipe's table {tensor of the checkpoint: type}.

    Raises ConfigError without calibration data, ArtifactError for a table of another model.
    """
    table, out = order.recipe.settings["table"], order.out
    if order.calibration is None:
        raise ConfigError("this recipe needs calibration data", hint="set evaluate.calibration")
    planned = _typed(checkpoint, stored_type(checkpoint, form), table)
    writer = describe(checkpoint, stored_type(checkpoint, form), out / MODEL)
    as_quantized(writer, _file_type(planned))
    write_header(writer, list(planned.values()))
    with TemporaryDirectory(dir=out, prefix="packed-") as folder:
        packed = _packed(checkpoint, order.calibration.ids, planned, Path(folder), order)
        for name, tensor in planned.items():
            writer.write_tensor_data(np.load(packed.pop(name), mmap_mode="r") if name in packed else stored(tensor))
    writer.close()
    read_gguf(out / MODEL)


def fitted(kind: str, rows: NDArray[np.float32], moments: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Rows [rows, inputs] of a matrix as llama.cpp reads them in a GGUF type."""
    import gguf

    number, (packed, values) = gguf.GGMLQuantizationType[kind], _quantized(kind, rows, moments)
    return gguf.quants.dequantize(packed, number) if values is None else values


def stored_bits(kind: str, inputs: int, outputs: int) -> int | None:
    """Bits of a matrix in a GGUF type; None where its blocks do not divide the rows. Raises ConfigError for an unknown
    type.
    """
    import gguf

    known = [each.name for each in gguf.GGMLQuantizationType]
    if kind not in known:
        raise ConfigError(f"unknown type '{kind}'", where="formats of llamacpp", hint=suggest(kind, known))
    block, held = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    return None if inputs % block else 8 * held * (inputs // block) * outputs


def _typed(checkpoint: Checkpoint, kind: str, table: Mapping[str, str]) -> dict[str, Planned]:
    """{tensor of the checkpoint, or of the file alone: where it goes}, with the table's types, in the file's order."""
    planned = plan_tensors(checkpoint, kind)
    names = iter(read_headers(checkpoint.weights))
    found = {(tensor.name if isinstance(tensor.source, np.ndarray) else next(names)): tensor for tensor in planned}
    quantized = {name: tensor for name, tensor in found.items() if len(tensor.shape) == 2}
    check_table(table, quantized)
    return found | {
        name: Planned(tensor.name, tensor.source, format_of(table, name)) for name, tensor in quantized.items()
    }


def _packed(
    checkpoint: Checkpoint, ids: NDArray[np.int64], planned: Mapping[str, Planned], folder: Path, order: Order
) -> dict[str, Path]:
    """{matrix: a file with its bytes uint8 [rows, row bytes]}: they are made in the layers' order."""
    found: dict[str, Path] = {}
    tied = HEAD not in planned
    for matrix in matrices(checkpoint.folder, checkpoint.weights, ids, folder, order.progress):
        name = EMBEDDING if tied and matrix.name == HEAD else matrix.name  # a tied table is the lm_head's
        if tied and matrix.name == EMBEDDING:
            continue
        found[name] = folder / f"{len(found)}.npy"
        whole = matrix.weights()
        out = np.lib.format.open_memmap(
            found[name], mode="w+", dtype=np.uint8, shape=(len(whole), planned[name].row_bytes)
        )
        for first in range(0, len(whole), TABLE_ROWS):
            part = slice(first, first + TABLE_ROWS)
            out[part] = _quantized(planned[name].kind, whole[part], matrix.moments)[0]
        out.flush()
    return found


def _quantized(
    kind: str, rows: NDArray[np.float32], moments: NDArray[np.float32] | None
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """(bytes, values) of rows in a type; the values where they were needed on the way."""
    import gguf

    number = gguf.GGMLQuantizationType[kind]
    if moments is None or kind in EXACT:
        weights = None if moments is None else np.ascontiguousarray(np.diag(moments))
        return quantized_rows(np.ascontiguousarray(rows), kind, weights), None
    importance, slices = np.diag(moments), []

    def kernel(columns: NDArray[np.float32], part: slice) -> NDArray[np.float32]:
        slices.append(quantized_rows(columns, kind, np.ascontiguousarray(importance[part])))
        return np.asarray(gguf.quants.dequantize(slices[-1], number), np.float32)

    values = compensated(rows, moments, SPREAD, kernel)
    return np.concatenate(slices, axis=1), values


def _file_type(planned: Mapping[str, Planned]) -> int:
    """The file is called by the type of most of its weights."""
    weights: Counter[str] = Counter()
    for tensor in planned.values():
        if len(tensor.shape) == 2:
            weights[tensor.kind] += prod(tensor.shape)
    kind = weights.most_common(1)[0][0]
    return type_number(CALLED.get(kind, kind), "recipe of llamacpp")
