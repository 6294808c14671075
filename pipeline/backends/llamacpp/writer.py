"""The project's GGUF writer, on the `gguf` package: key for key and tensor for tensor what llama.cpp's script writes.

Only one tensor is in memory at a time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.llamacpp.files import file_types
from pipeline.backends.llamacpp.slabs import converted
from pipeline.backends.llamacpp.vocabulary import add_vocabulary
from pipeline.errors import CheckpointError, ConfigError, suggest
from pipeline.model.checkpoint import Tensor, read_bytes, read_float32, read_headers
from pipeline.model.rope import attention_factor, rope_of, rotary_size
from pipeline.types import Checkpoint

WRITABLE = ("F32", "F16", "BF16")
ALIGNMENT = 32  # bytes, of data in a GGUF file


@dataclass(frozen=True)
class Planned:
    """A tensor of the file: its GGUF name, where its values are, and its type there."""

    name: str
    source: Tensor | NDArray[np.float32]
    kind: str

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.source.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in the file."""
        import gguf

        block, held = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[self.kind]]
        return int(self.shape[-1] // block * held)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape[:-1]) * self.row_bytes


def write_gguf(checkpoint: Checkpoint, kind: str, target: Path) -> None:
    """Write the checkpoint as F32, F16 or BF16; vectors stay F32. Raises CheckpointError for an unknown tensor."""
    planned = plan_tensors(checkpoint, kind)
    writer = describe(checkpoint, kind, target)
    write_header(writer, planned)
    for tensor in planned:
        writer.write_tensor_data(stored(tensor))
    writer.close()


def write_hollow(checkpoint: Checkpoint, kind: str, target: Path) -> list[Planned]:
    """The same file with a hole for data, which takes no room on disk: for what only reads names and shapes."""
    planned = plan_tensors(checkpoint, kind)
    writer = describe(checkpoint, kind, target)
    write_header(writer, planned)
    writer.close()
    pad, size = writer.ggml_pad, target.stat().st_size
    with target.open("r+b") as file:
        file.truncate(pad(size, ALIGNMENT) + sum(pad(tensor.size, ALIGNMENT) for tensor in planned))
    return planned


def describe(checkpoint: Checkpoint, kind: str, target: Path) -> Any:
    """A gguf.GGUFWriter with everything but tensors."""
    import gguf

    if kind not in WRITABLE:
        raise ConfigError(f"unknown type '{kind}'", where="form of llamacpp", hint=suggest(kind, WRITABLE))
    writer = gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.PHI3])
    parameters = sum(math.prod(tensor.shape) for tensor in plan_tensors(checkpoint, kind))
    writer.add_type(gguf.GGUFType.MODEL)
    name = general_name(checkpoint)
    metadata = gguf.Metadata.load(None, checkpoint.folder, name, parameters)
    if metadata.size_label is None:
        metadata.size_label = gguf.size_label(parameters, parameters, 0, 0)
    metadata.set_gguf_meta_model(writer)
    _add_parameters(writer, checkpoint.config, file_types()[kind])
    add_vocabulary(writer, checkpoint)
    return writer


def general_name(checkpoint: Checkpoint) -> str:
    """The model's name in the file.

    llama.cpp strips what follows a chat token only in models named phi-3; tokenizer.json says whether it must.
    """
    name = checkpoint.model
    added = json.loads((checkpoint.folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    strips = any(token.get("rstrip") and token["content"].startswith("<|") for token in added)
    known = "phi-3" in name.lower() or "phi3" in name.lower()
    return f"{name} (Phi-3 architecture)" if strips and not known else name


def write_header(writer: Any, planned: Sequence[Planned]) -> None:
    import gguf

    for tensor in planned:
        raw = gguf.GGMLQuantizationType[tensor.kind]
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.size, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()


def stored(tensor: Planned) -> NDArray[Any]:
    """The values of a tensor as the file has them; where the checkpoint has the same bytes, they are only mapped."""
    if isinstance(tensor.source, np.ndarray):
        return tensor.source
    if tensor.source.dtype == tensor.kind:
        return read_bytes(tensor.source)
    if len(tensor.shape) == 1:
        return _rounded(read_float32(tensor.source), tensor.kind)
    return converted(tensor.source, tensor.row_bytes, lambda rows: _rounded(rows, tensor.kind))


def _rounded(values: NDArray[np.float32], kind: str) -> NDArray[Any]:
    import gguf

    if kind == "F32":
        return values
    if kind == "F16":
        return values.astype(np.float16)
    rounded: NDArray[Any] = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16)
    return rounded


def plan_tensors(checkpoint: Checkpoint, kind: str) -> list[Planned]:
    """What goes into the file, in the file's order. Raises CheckpointError for a tensor without a place there."""
    return list(_planned(checkpoint, kind))


def _planned(checkpoint: Checkpoint, kind: str) -> Iterator[Planned]:
    import gguf

    config = checkpoint.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.PHI3, config["num_hidden_layers"])
    rope = rope_of(config)
    if rope["rope_type"] == "longrope":
        for which, values in (("LONG", rope["long_factor"]), ("SHORT", rope["short_factor"])):
            tensor = gguf.TENSOR_NAMES[gguf.MODEL_TENSOR[f"ROPE_FACTORS_{which}"]] + ".weight"
            yield Planned(tensor, np.asarray(values, np.float32), "F32")
    for name, tensor in read_headers(checkpoint.weights).items():
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise CheckpointError(f"llama.cpp's phi3 has no place for tensor {name}", where=str(tensor.path))
        yield Planned(known, tensor, "F32" if len(tensor.shape) == 1 else kind)


def _add_parameters(writer: Any, config: Mapping[str, Any], file_type: int) -> None:
    import gguf

    rope, longest = rope_of(config), config["max_position_embeddings"]
    original = rope.get("original_max_position_embeddings") or longest
    writer.add_context_length(longest)
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(rotary_size(config))
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_file_type(file_type)
    writer.add_sliding_window(config.get("sliding_window") or 0)
    if rope["rope_type"] == "longrope":
        writer.add_rope_scaling_attn_factors(attention_factor(rope, longest))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
