"""The architectures of the Phi family, as config.json names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """One of them: `spellings` are other names of it, `tag` is the hub's; a `layered` one can be run layer by layer.

    One that is not of `text` alone is taken by the modalities of its `towers`: parameters of what sees or hears, as
    published. `defaults` are transformers' (configuration_phi3.py, configuration_phimoe.py) for what config.json leaves
    out and must not be guessed.
    """

    name: str
    tag: str
    spellings: tuple[str, ...] = ()
    layered: bool = False
    text: bool = True
    towers: Mapping[str, int] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


_PHI3 = {
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 32000,
    "pad_token_id": 32000,
}
_PHIMOE = {
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_experts_per_tok": 2,
    "num_local_experts": 16,
    "attention_bias": False,
    "lm_head_bias": False,
}
_ALL = (
    Architecture("Phi3ForCausalLM", "phi3", layered=True, defaults=_PHI3),
    # transformers 5 writes the other name
    Architecture("PhiMoEForCausalLM", "phimoe", spellings=("PhimoeForCausalLM",), defaults=_PHIMOE),
    Architecture("Phi3VForCausalLM", "phi3_v", text=False, towers={"vision": 326_000_000}, defaults=_PHI3),
    Architecture(
        "Phi4MMForCausalLM",
        "phi4mm",
        text=False,
        towers={"vision": 411_000_000, "speech": 454_000_000},
        defaults=_PHI3,
    ),
)
ARCHITECTURES = {architecture.name: architecture for architecture in _ALL}
TEXT = tuple(name for name, architecture in ARCHITECTURES.items() if architecture.text)
_SPELLINGS = {word: a.name for a in _ALL for word in a.spellings}


def canonical(name: str) -> str:
    """The hub's name of an architecture, whichever of its spellings is given."""
    return _SPELLINGS.get(name, name)
