"""RoPE in both spellings: transformers 5 writes `rope_parameters`, other tools read `rope_theta`/`rope_scaling`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FACTORS = ("short_factor", "long_factor", "factor", "short_mscale", "long_mscale")


def with_both_spellings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json that every tool reads the same base and the same LongRoPE factors from."""
    both = dict(config)
    scaling = dict(both.get("rope_scaling") or {})
    parameters = dict(both.get("rope_parameters") or {})
    theta = parameters.get("rope_theta", both.get("rope_theta", 10000.0))
    kind = parameters.get("rope_type") or parameters.get("type") or scaling.get("rope_type") or scaling.get("type")
    kind = {"su": "longrope", None: "default"}.get(kind, kind)
    partial = parameters.get("partial_rotary_factor", both.get("partial_rotary_factor", 1.0))
    merged = {**scaling, **parameters, "rope_theta": theta, "rope_type": kind, "type": kind}
    merged["partial_rotary_factor"] = partial
    both.update(rope_theta=theta, partial_rotary_factor=partial, rope_parameters=merged)
    if kind == "default":
        both["rope_scaling"] = None
        return both
    original = merged.get("original_max_position_embeddings", both.get("original_max_position_embeddings"))
    if original:
        merged["original_max_position_embeddings"] = original
        both["original_max_position_embeddings"] = original
    factors = {key: merged[key] for key in FACTORS if key in merged}
    both["rope_scaling"] = {"type": kind, **factors}
    return both
