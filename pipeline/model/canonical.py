"""config.json as transformers means it: its defaults filled in, RoPE in both spellings, what tools would read otherwise
taken out. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.architectures import ARCHITECTURES, canonical
from pipeline.model.rope import attention_factor, implied_factor, rope_of, rotary_size, with_both_spellings

POSITIVE = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
WHOLE = (*POSITIVE, "num_key_value_heads", "head_dim", "max_position_embeddings", "num_local_experts")
IMPLIED = "implied"  # what the other fields say already
EIGHTS = "multiples of 8"


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with transformers' default for every field that it lacks. Raises CheckpointError for absurd ones."""
    named = config.get("architectures")
    named = named if isinstance(named, list) else []
    name = canonical(str(named[0]) if named else "")
    known = ARCHITECTURES.get(name)
    defaults = known.defaults if known else {}
    filled = {**config, **{key: held for key, held in defaults.items() if config.get(key) is None}}
    filled["architectures"] = [name]
    bad = [field for field in POSITIVE if not _positive(config.get(field))]
    if bad:
        raise CheckpointError(f"config.json lacks a positive {', '.join(bad)}")
    odd = [field for field in WHOLE if filled.get(field) is not None and not _positive(filled[field])]
    if odd:
        raise CheckpointError(f"config.json's {odd[0]} is {filled[odd[0]]!r:.40}, not a positive whole number")
    filled["num_key_value_heads"] = filled.get("num_key_value_heads") or filled["num_attention_heads"]
    if filled["num_attention_heads"] % filled["num_key_value_heads"]:
        raise CheckpointError(
            f"num_key_value_heads {filled['num_key_value_heads']} does not divide "
            f"num_attention_heads {filled['num_attention_heads']}"
        )
    return filled


def canonical_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config that every tool is given. Raises CheckpointError for what is refused by name."""
    return with_both_spellings(with_defaults(config))


def refuse_quantized(config: Mapping[str, Any], where: str) -> None:
    """Raises CheckpointError for a quantized checkpoint, or one whose config says so."""
    said = config.get("quantization_config")
    if said is None:
        return
    method = said.get("quant_method") or said.get("quantization_method") if isinstance(said, Mapping) else None
    raise CheckpointError(
        f"config.json has a quantization_config ({method or 'without quant_method'})",
        where=where,
        hint="take the checkpoint from before quantization; where the weights are plain, remove that key",
    )


def traits(config: Mapping[str, Any]) -> dict[str, Any]:
    """What backends may not honour, each by one value: `conf/backend/<name>.yaml` says which they do (`honours`).

    head_dim and attention_factor are `implied` where the other fields give them; the rotated pairs of a head are a
    number, or `multiples of 8`. Raises CheckpointError as `canonical_config` does.
    """
    whole = canonical_config(config)
    rope, longest = rope_of(whole), whole["max_position_embeddings"]
    own = attention_factor(rope, longest)
    usual = 1.0
    if rope["rope_type"] != "default":
        usual = implied_factor(longest / rope["original_max_position_embeddings"], rope)
    head, size = whole.get("head_dim"), whole["hidden_size"] // whole["num_attention_heads"]
    pairs = rotary_size(whole) // 2
    return {
        "hidden_act": whole.get("hidden_act"),
        "head_dim": IMPLIED if head is None or head == size else head,
        "rope_type": rope["rope_type"],
        "rotary_pairs": EIGHTS if pairs % 8 == 0 else pairs,
        "attention_factor": IMPLIED if math.isclose(own, usual, rel_tol=1e-6) else own,
        "attention_bias": bool(whole.get("attention_bias")),
        "lm_head_bias": bool(whole.get("lm_head_bias")),
    }


def unhonoured(found: Mapping[str, Any], honours: Mapping[str, Any], backend: str) -> str | None:
    """`hidden_act is gelu, llamacpp computes silu` of the first trait that a backend does not honour, or None."""
    for field, values in honours.items():
        if field in found and found[field] not in values:
            listed = ", ".join("what other fields give" if value == IMPLIED else str(value).lower() for value in values)
            return f"{field} is {str(found[field]).lower()}, {backend} computes {listed}"
    return None


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
