"""safetensors shards, read without any ML library: are they all there, whole, and what do they hold."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
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
EMBEDDING = "model.embed_tokens.weight"
UNSAFE = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
REFETCH = "copy or fetch the checkpoint again"
NORMS = ("input_layernorm", "post_attention_layernorm")
DENSE_LAYER = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj", *NORMS)
MOE_LAYER = (*(f"self_attn.{part}_proj" for part in "qkvo"), "block_sparse_moe.gate", *NORMS)
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
    """The shards a checkpoint must have. Raises CheckpointError when it has none, or only pickles."""
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
    if (folder / SINGLE).is_file():
        return [SINGLE]
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
    """All tensors of a checkpoint folder, every shard checked."""
    tensors: dict[str, Tensor] = {}
    for name in shard_names(folder):
        tensors |= read_header(folder / name)
    return tensors


def read_float32(tensor: Tensor, rows: slice = slice(None)) -> NDArray[np.float32]:
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


def elements(tensors: Mapping[str, Tensor], name: str) -> int:
    """How many numbers the tensor called `name` holds; 0 where there is none."""
    return prod(tensors[name].shape) if name in tensors else 0


def stored_dtype(tensors: Mapping[str, Tensor]) -> str:
    """The dtype that holds most of the weights, as config.json names it."""
    sizes: dict[str, int] = {}
    for tensor in tensors.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size
    names = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
    largest = max(sizes, key=lambda name: sizes[name])
    if largest not in names:
        raise CheckpointError(f"weights of type {largest} are not supported", hint="take the unquantized checkpoint")
    return names[largest]


def missing_tensors(present: Iterable[str], config: Mapping[str, Any]) -> list[str]:
    """Names a decoder of the Phi family must have, by its config, and `present` lacks."""
    names = {EMBEDDING, "model.norm.weight"}
    if not config.get("tie_word_embeddings"):
        names.add("lm_head.weight")
    experts = int(config.get("num_local_experts") or 0)
    for layer in range(config["num_hidden_layers"]):
        parts = MOE_LAYER if experts else DENSE_LAYER
        names |= {f"model.layers.{layer}.{part}.weight" for part in parts}
        names |= {
            f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{part}.weight"
            for expert in range(experts)
            for part in ("w1", "w2", "w3")
        }
    return sorted(names - set(present))


def read_output_matrix(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """What makes logits of hidden states: [vocab, width] (the embedding where the two are tied), and its bias."""
    tensors = read_headers(folder)
    name = "lm_head.weight" if "lm_head.weight" in tensors else EMBEDDING
    return read_float32(tensors[name]), read_float32(tensors["lm_head.bias"]) if "lm_head.bias" in tensors else None
