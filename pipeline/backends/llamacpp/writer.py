"""The project's GGUF writer, on the `gguf` package: key for key and tensor for tensor what llama.cpp's script writes.

Only one tensor is in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.llamacpp.types import FILE_TYPES
from pipeline.checkpoint import Tensor, read_float32, read_headers
from pipeline.errors import CheckpointError, ConfigError, suggest
from pipeline.types import Checkpoint

WRITABLE = ("F32", "F16", "BF16")
Planned = tuple[str, Tensor | NDArray[np.float32], str]  # GGUF name, where the values are, type in the file


def write_gguf(checkpoint: Checkpoint, kind: str, target: Path) -> None:
    """Write the checkpoint as F32, F16 or BF16; vectors stay F32. Raises CheckpointError for an unknown tensor."""
    import gguf

    from pipeline.backends.llamacpp.convert import general_name
    from pipeline.backends.llamacpp.vocabulary import add_vocabulary

    if kind not in WRITABLE:
        raise ConfigError(f"unknown type '{kind}'", where="form of llamacpp", hint=suggest(kind, WRITABLE))
    writer = gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.PHI3])
    planned = list(_planned(checkpoint, kind))
    parameters = sum(math.prod(_shape(source)) for _, source, _ in planned)
    writer.add_type(gguf.GGUFType.MODEL)
    name = general_name(checkpoint)
    metadata = gguf.Metadata.load(None, checkpoint.folder, name, parameters)
    if metadata.size_label is None:
        metadata.size_label = gguf.size_label(parameters, parameters, 0, 0)
    metadata.set_gguf_meta_model(writer)
    _add_parameters(writer, checkpoint.config, FILE_TYPES[kind])
    add_vocabulary(writer, checkpoint)
    for tensor, source, stored in planned:
        raw = gguf.GGMLQuantizationType[stored]
        size = math.prod(_shape(source)) * (4 if stored == "F32" else 2)
        writer.add_tensor_info(tensor, _shape(source), np.dtype(np.float32), size, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, source, stored in planned:
        values = source if isinstance(source, np.ndarray) else read_float32(source)
        writer.write_tensor_data(_stored(values, stored))
    writer.close()


def _shape(source: Tensor | NDArray[np.float32]) -> tuple[int, ...]:
    return tuple(source.shape)


def _stored(values: NDArray[np.float32], kind: str) -> NDArray[Any]:
    import gguf

    if kind == "F32":
        return np.ascontiguousarray(values)
    if kind == "F16":
        return np.ascontiguousarray(values.astype(np.float16))
    rounded: NDArray[Any] = gguf.quants.quantize(np.ascontiguousarray(values), gguf.GGMLQuantizationType.BF16)
    return rounded


def _planned(checkpoint: Checkpoint, kind: str) -> Iterator[Planned]:
    """What goes into the file, in the file's order."""
    import gguf

    config = checkpoint.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.PHI3, config["num_hidden_layers"])
    rope = rope_parameters(config)
    factors = {"LONG": rope.get("long_factor"), "SHORT": rope.get("short_factor")}
    if factors["LONG"]:
        half = _rotary(config) // 2
        for which, values in factors.items():
            if len(values or ()) != half:
                raise CheckpointError(f"rope {which.lower()}_factor has {len(values or ())} values, {half} are needed")
            tensor = gguf.TENSOR_NAMES[gguf.MODEL_TENSOR[f"ROPE_FACTORS_{which}"]] + ".weight"
            yield tensor, np.asarray(values, np.float32), "F32"
    for name, tensor in read_headers(checkpoint.weights).items():
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise CheckpointError(f"llama.cpp's phi3 has no place for tensor {name}", where=str(tensor.path))
        yield known, tensor, "F32" if len(tensor.shape) == 1 else kind


def rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """RoPE's settings, from the spelling of transformers 5 or of the hub."""
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    found.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    found.setdefault("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    length = config.get("original_max_position_embeddings") or config["max_position_embeddings"]
    found.setdefault("original_max_position_embeddings", length)
    return found


def _rotary(config: Mapping[str, Any]) -> int:
    share = rope_parameters(config)["partial_rotary_factor"]
    return int(share * config["hidden_size"]) // int(config["num_attention_heads"])


def _add_parameters(writer: Any, config: Mapping[str, Any], file_type: int) -> None:
    import gguf

    rope = rope_parameters(config)
    original, longest = rope["original_max_position_embeddings"], config["max_position_embeddings"]
    writer.add_context_length(longest)
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(_rotary(config))
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_file_type(file_type)
    writer.add_sliding_window(config.get("sliding_window") or 0)
    if rope.get("long_factor"):
        scale = longest / original  # LongRoPE's attention factor (Ding et al. 2024)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
