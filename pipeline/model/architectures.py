"""The architectures of the Phi family, as config.json names them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """One of them: `spellings` are other names of it, `tag` is the hub's; a `layered` one can be run layer by layer.

    One that takes more than `text` is known by name, and no backend here has it yet.
    """

    name: str
    tag: str
    spellings: tuple[str, ...] = ()
    layered: bool = False
    text: bool = True


_ALL = (
    Architecture("Phi3ForCausalLM", "phi3", layered=True),
    Architecture("PhiMoEForCausalLM", "phimoe", spellings=("PhimoeForCausalLM",)),  # transformers 5 writes it so
    Architecture("Phi3VForCausalLM", "phi3_v", text=False),
    Architecture("Phi4MMForCausalLM", "phi4mm", text=False),
)
ARCHITECTURES = {architecture.name: architecture for architecture in _ALL}
TEXT = tuple(name for name, architecture in ARCHITECTURES.items() if architecture.text)
_SPELLINGS = {word: a.name for a in _ALL for word in a.spellings}


def canonical(name: str) -> str:
    """The hub's name of an architecture, whichever of its spellings is given."""
    return _SPELLINGS.get(name, name)
