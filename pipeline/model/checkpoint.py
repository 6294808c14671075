"""safetensors shards, read without any ML library: are they all there, whole, and what do they hold."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import layout
from pipeline.errors import CheckpointError
from pipeline.files import read_json
from pipeline.types import Checkpoint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TABLES = "rotary_emb.inv_freq"  # which older versions of transformers stored, and now compute
UNSAFE = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
REFETCH = "copy or fetch the checkpoint again"
ADAPTER = "adapter_config.json"
MERGE = "model.<name>.adapter=DIR takes an adapter, model.<name>.path or repo its base"
ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


def open_checkpoint(key: str, weights: str) -> Checkpoint:
    """The fetched model, as backends take it."""
    folder = layout.model(key)
    return Checkpoint(key, folder, Path(weights), read_json(folder / "config.json"))


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: `offset` is the first byte in the file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


def shard_names(folder: Path) -> list[str]:
    """The shards a checkpoint must have: the single file before the index, as transformers takes them.

    Raises CheckpointError when it has none, or only pickles.
    """
    if (folder / SINGLE).is_file():
        return [SINGLE]
    index = folder / INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{INDEX} is corrupt: {error}", where=str(folder), hint=REFETCH) from None
        outside = [name for name in names if not isinstance(name, str) or Path(name).name != name]
        if outside:
            raise CheckpointError(f"{INDEX} names a file outside the folder: {outside[0]}", where=str(folder))
        return names
    if (folder / ADAPTER).is_file():
        raise CheckpointError("it is an adapter, no model", where=str(folder), hint=MERGE)
    unsafe = sorted(path.name for pattern in UNSAFE for path in folder.glob(pattern))
    if unsafe:
        raise CheckpointError(
            f"only pickled weights ({', '.join(unsafe[:3])}), which can run code when they are loaded",
            where=str(folder),
            hint="convert them to safetensors: transformers' save_pretrained writes it",
        )
    raise CheckpointError(f"neither {SINGLE} nor {INDEX} is here", where=str(folder), hint=REFETCH)


def read_header(path: Path) -> dict[str, Tensor]:
    """Tensors of one shard. Raises CheckpointError when the file is missing, cut or not safetensors."""
    where = str(path)
    if not path.is_file():
        raise CheckpointError("the shard is missing", where=where, hint=REFETCH)
    total = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise CheckpointError(f"the shard is cut: {total} bytes", where=where, hint=REFETCH)
        (length,) = struct.unpack("<Q", prefix)
        if length > min(total - 8, 100_000_000):
            raise CheckpointError("no safetensors file, or cut in its header", where=where, hint=REFETCH)
        try:
            header = json.loads(file.read(length))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            tensors = {name: _tensor(path, entry, 8 + length) for name, entry in entries.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"its safetensors header is corrupt: {error}", where=where, hint=REFETCH) from None
    end = max((tensor.offset + tensor.size for tensor in tensors.values()), default=8 + length)
    if end != total:
        raise CheckpointError(
            f"the shard is truncated: {total} bytes, its header says {end}", where=where, hint=REFETCH
        )
    return tensors


def _tensor(path: Path, entry: Mapping[str, Any], base: int) -> Tensor:
    dtype, (first, last) = str(entry["dtype"]), entry["data_offsets"]
    shape = tuple(int(size) for size in entry["shape"])
    size = int(last) - int(first)
    if dtype in ITEM_BYTES and size != prod(shape) * ITEM_BYTES[dtype]:
        raise ValueError(f"shape {shape} of {dtype} is not {size} bytes")
    return Tensor(path, dtype, shape, base + int(first), size)


def read_headers(folder: Path) -> dict[str, Tensor]:
    """All parameters of a checkpoint folder, every shard checked. Raises CheckpointError for duplicates."""
    tensors: dict[str, Tensor] = {}
    for shard in shard_names(folder):
        found = read_header(folder / shard)
        for name in found.keys() & tensors.keys():
            raise CheckpointError(
                f"tensor {name} is in {tensors[name].path.name} and in {shard}", where=str(folder), hint=REFETCH
            )
        tensors |= {name: tensor for name, tensor in found.items() if not name.endswith(TABLES)}
    return tensors


def read_float32(tensor: Tensor, rows: slice | NDArray[np.int64] = slice(None)) -> NDArray[np.float32]:
    """A tensor, or some rows of it, as float32; only what is asked for is read from the mapped file."""
    import numpy as np

    kinds: dict[str, str] = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}
    if tensor.dtype not in kinds:
        raise CheckpointError(f"weights of type {tensor.dtype} are not supported", where=str(tensor.path))
    mapped = np.memmap(tensor.path, dtype=kinds[tensor.dtype], mode="r", offset=tensor.offset, shape=tensor.shape)
    part = mapped[rows]
    if tensor.dtype == "BF16":  # the upper half of a float32
        return (part.astype(np.uint32) << 16).view(np.float32)
    return part.astype(np.float32)


def read_bytes(tensor: Tensor) -> NDArray[np.uint8]:
    """A tensor's bytes as the file has them, mapped: nothing is read before it is used."""
    import numpy as np

    return np.memmap(tensor.path, dtype=np.uint8, mode="r", offset=tensor.offset, shape=(tensor.size,))


def parameters(tensors: Mapping[str, Tensor]) -> int:
    """How many numbers the tensors hold."""
    return sum(prod(tensor.shape) for tensor in tensors.values())


def stored_parameters(tensors: Mapping[str, Tensor]) -> int:
    """How many numbers the tensors hold, an lm_head that is the embedding's once."""
    return parameters(tensors) - (elements(tensors, HEAD) if HEAD in tensors and not has_own_head(tensors) else 0)


def elements(tensors: Mapping[str, Tensor], name: str) -> int:
    """How many numbers the tensor called `name` holds; 0 where there is none."""
    return prod(tensors[name].shape) if name in tensors else 0


def stored_dtype(tensors: Mapping[str, Tensor]) -> str:
    """The type that keeps every value, as config.json names it: the one of all weights, float32 where they differ."""
    names = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
    for name, tensor in tensors.items():
        if tensor.dtype not in names:
            raise CheckpointError(
                f"{name} is of type {tensor.dtype}, which is not supported", hint="take the unquantized checkpoint"
            )
    kinds = {tensor.dtype for tensor in tensors.values()}
    return names[kinds.pop()] if len(kinds) == 1 else "float64" if "F64" in kinds else "float32"


def has_own_head(tensors: Mapping[str, Tensor]) -> bool:
    """Whether there is an lm_head with other bytes than the embedding's: transformers then ties nothing."""
    if HEAD not in tensors:
        return False
    head, embedding = tensors[HEAD], tensors[EMBEDDING]
    if (head.dtype, head.size) != (embedding.dtype, embedding.size):
        return True
    one, other = read_bytes(head), read_bytes(embedding)
    step = 1 << 26
    return any(bool((one[at : at + step] != other[at : at + step]).any()) for at in range(0, head.size, step))


def read_output_matrix(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """What makes logits of hidden states: [vocab, width] (the embedding where the two are tied), and its bias."""
    tensors = read_headers(folder)
    name = HEAD if HEAD in tensors else EMBEDDING
    return read_float32(tensors[name]), read_float32(tensors["lm_head.bias"]) if "lm_head.bias" in tensors else None
