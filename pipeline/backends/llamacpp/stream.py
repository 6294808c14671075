"""Checkpoint → quantized GGUF without a 16-bit file in between.

llama.cpp decides which tensor gets which type, by a dry run on a file whose weights are a hole; each tensor then goes
from the mapped checkpoint through llama.cpp's own kernels to its place in the file. The bytes are those of
converting first and quantizing then.
"""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Form, Order
from pipeline.backends.llamacpp.convert import stored_type
from pipeline.backends.llamacpp.files import MODEL, read_gguf
from pipeline.backends.llamacpp.imatrix import Importance
from pipeline.backends.llamacpp.kernels import quantized_rows
from pipeline.backends.llamacpp.library import listening
from pipeline.backends.llamacpp.quantize import file_type, importance_file, run
from pipeline.backends.llamacpp.slabs import converted
from pipeline.backends.llamacpp.writer import Planned, describe, stored, write_header, write_hollow
from pipeline.errors import ToolError
from pipeline.types import Checkpoint

# "[  3/ 15]  blk.0.attn_qkv.weight - [..], type = bf16, size = 1.0 MiB -> 0.3 MiB (q4_K)"; without an arrow it stays
SIZE = r"\s*[\d.]+ MiB"
DECIDED = re.compile(rf"\[ *\d+/ *\d+\]\s+(\S+)\s+- \[[^]]*\], type =\s*\w+,\s*size ={SIZE}(?: ->{SIZE} \((\w+)\))?")


def stream(checkpoint: Checkpoint, form: Form, order: Order) -> None:
    """Write model.gguf for a recipe that needs no run of the model. Raises ToolError with llama.cpp's words."""
    settings, out = order.recipe.settings, order.out
    number, kind = file_type(settings), stored_type(checkpoint, form)
    with TemporaryDirectory(dir=out, prefix="hollow-") as folder:
        hollow = Path(folder) / MODEL
        planned = {tensor.name: tensor for tensor in write_hollow(checkpoint, kind, hollow)}
        importance = importance_file(settings["imatrix"], hollow) if settings.get("imatrix") else None
        types = _decided(hollow, number, importance)
    if set(types) != set(planned):
        raise ToolError("llama.cpp's dry run does not list the tensors of the file", where=str(out))
    tensors = [Planned(name, planned[name].source, types[name] or planned[name].kind) for name in types]
    writer = describe(checkpoint, kind, out / MODEL)
    as_quantized(writer, number)
    write_header(writer, tensors)
    for done, tensor in enumerate(tensors, 1):
        same = tensor.kind == planned[tensor.name].kind
        writer.write_tensor_data(stored(tensor) if same else _packed(tensor, importance))
        order.progress(done, len(tensors))
    writer.close()
    read_gguf(out / MODEL)


def _decided(hollow: Path, number: int, importance: Importance | None) -> dict[str, str]:
    """{tensor: its type, or nothing where it stays}, in the order in which llama.cpp writes them."""
    with listening() as said:
        run(hollow, hollow.with_name("none"), number, importance, dry_run=True)
    found = DECIDED.findall("".join(said))
    return {name: kind.upper() for name, kind in found}


def as_quantized(writer: Any, number: int) -> None:
    """The two keys that llama.cpp's quantizer sets, where it puts them: at the end."""
    import gguf

    for key in (gguf.Keys.General.QUANTIZATION_VERSION, gguf.Keys.General.FILE_TYPE):
        writer.kv_data[0].pop(key, None)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(number)


def _packed(tensor: Planned, importance: Importance | None) -> NDArray[np.uint8]:
    """A matrix in its quantized type."""
    weights = None if importance is None else importance.get(tensor.name)
    if isinstance(tensor.source, np.ndarray):  # RoPE factors, which llama.cpp leaves as they are
        raise ToolError(f"llama.cpp would quantize {tensor.name}", where="its dry run")
    return converted(tensor.source, tensor.row_bytes, lambda rows: quantized_rows(rows, tensor.kind, weights))
