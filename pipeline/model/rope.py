"""RoPE: what config.json says, as transformers reads it, in both spellings that tools read.

transformers 5 writes `rope_parameters`, older files and other tools have `rope_theta` and `rope_scaling`. Every key is
carried; an unknown one, a type that transformers has not for the Phi family, and a value that is said twice and
differently are refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.errors import CheckpointError

PHI3_ORIGINAL = 4096  # Phi3Config.original_max_position_embeddings
LONGROPE = ("longrope", "su", "yarn")  # transformers reads the older names of Phi's files as LongRoPE
TYPES = ("default", "longrope")
KNOWN = (
    *("rope_type", "type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings"),
    *("factor", "attention_factor", "short_factor", "long_factor", "short_mscale", "long_mscale"),
)
OUTSIDE = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")  # also said beside the dictionary


def rope_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """All of RoPE in one dictionary: rope_type, rope_theta, partial_rotary_factor, and what the type has.

    config must have transformers' defaults (pipeline.model.canonical). Raises CheckpointError.
    """
    scaling, parameters = (_dictionary(config, name) for name in ("rope_scaling", "rope_parameters"))
    for key in scaling.keys() & parameters.keys() - {"type", "rope_type"}:
        _same(f"rope_scaling.{key}", scaling[key], f"rope_parameters.{key}", parameters[key])
    found = {**parameters, **scaling}
    kind = str(found.pop("rope_type", None) or found.get("type") or "default")
    found.pop("type", None)
    kind = "longrope" if kind in LONGROPE else kind
    if kind not in TYPES:
        raise CheckpointError(
            f"RoPE of type '{kind}' is not in transformers' Phi models", hint=f"they have {' and '.join(TYPES)}"
        )
    unknown = [key for key in found if key not in KNOWN]
    if unknown:
        raise CheckpointError(f"config.json's RoPE has a key that is not known here: '{unknown[0]}'", hint=_known())
    for key in OUTSIDE:
        if key in found and config.get(key) is not None:
            _same(f"RoPE's {key}", found[key], f"config.json's {key}", config[key])
        elif config.get(key) is not None:
            found[key] = config[key]
    found.setdefault("rope_theta", 10000.0)
    found.setdefault("partial_rotary_factor", 1.0)
    if kind == "default":
        found.pop("original_max_position_embeddings", None)
    elif "Phi3ForCausalLM" in (config.get("architectures") or ()):
        # transformers takes it from beside the dictionary, where it has a default of its own
        outside = config.get("original_max_position_embeddings") or PHI3_ORIGINAL
        _same(
            "RoPE's original_max_position_embeddings",
            found.get("original_max_position_embeddings", outside),
            "the one beside it, or 4096",
            outside,
        )
        found["original_max_position_embeddings"] = outside
    for key in ("rope_theta", "partial_rotary_factor", "factor", "attention_factor", "short_mscale", "long_mscale"):
        if key in found and (isinstance(found[key], bool) or not isinstance(found[key], (int, float))):
            raise CheckpointError(f"RoPE's {key} is {found[key]!r:.40}, not a number")
        if key in found and not 0 < found[key] < math.inf:
            raise CheckpointError(f"RoPE's {key} is {found[key]!r:.40}, which is not positive")
    if found["partial_rotary_factor"] > 1:
        raise CheckpointError(f"RoPE's partial_rotary_factor is {found['partial_rotary_factor']}, which is more than 1")
    if kind == "longrope":
        _check_factors(found, config)
    first = {"rope_theta": found.pop("rope_theta"), "rope_type": kind}
    return {**first, "partial_rotary_factor": found.pop("partial_rotary_factor"), **found}


def with_both_spellings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json that every tool reads the same RoPE from."""
    rope = rope_of(config)
    both = {**config, **{key: rope[key] for key in OUTSIDE if key in rope}}
    kind = rope["rope_type"]
    both["rope_parameters"] = {"rope_theta": rope["rope_theta"], "rope_type": kind, "type": kind, **rope}
    both["rope_scaling"] = None
    if rope["rope_type"] != "default":
        own = {key: value for key, value in rope.items() if key not in (*OUTSIDE, "rope_type")}
        both["rope_scaling"] = {"type": rope["rope_type"], **own}
    return both


def attention_factor(rope: Mapping[str, Any], longest: int) -> float:
    """What cosines and sines are multiplied by, as transformers computes it (LongRoPE: Ding et al. 2024).

    `longest` is max_position_embeddings.
    """
    if rope["rope_type"] == "default":
        return 1.0
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    return implied_factor(rope.get("factor") or longest / rope["original_max_position_embeddings"], rope)


def implied_factor(factor: float, rope: Mapping[str, Any]) -> float:
    """LongRoPE's attention factor of a context `factor` times the original one."""
    original = rope["original_max_position_embeddings"]
    return math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0


def rotary_size(config: Mapping[str, Any]) -> int:
    """Dimensions of a head that are rotated."""
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return int(head * rope_of(config)["partial_rotary_factor"])


def _dictionary(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise CheckpointError(f"config.json's {name} is {found!r:.60}, not an object")
    return {key: value for key, value in found.items() if value is not None}


def _same(first: str, one: Any, second: str, other: Any) -> None:
    if one != other:
        raise CheckpointError(f"{first} is {one!r:.40}, {second} is {other!r:.40}", hint="say it once, or alike")


def _check_factors(rope: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    half = int(head * rope["partial_rotary_factor"]) // 2
    for key in ("short_factor", "long_factor"):
        values = rope.get(key)
        numbers = isinstance(values, list) and all(isinstance(v, (int, float)) for v in values)
        if not isinstance(values, list) or not numbers:
            raise CheckpointError(f"RoPE of type 'longrope' lacks {key}, a list of {half} numbers")
        if len(values) != half:
            raise CheckpointError(f"RoPE's {key} has {len(values)} values, {half} are needed")
    original = rope.get("original_max_position_embeddings")
    if not isinstance(original, int) or original < 2:
        raise CheckpointError(
            "RoPE of type 'longrope' lacks original_max_position_embeddings, a whole number from 2 up"
        )


def _known() -> str:
    return f"known: {', '.join(sorted(KNOWN))}"
