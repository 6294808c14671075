"""Which combinations are cells. Each rule returns why a combination is left out, or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import suggest
from pipeline.matrix.recipes import parse_recipe
from pipeline.model.dimensions import Dimensions
from pipeline.types import BITS, Family, Recipe

DEFAULT = "default"
WITH_MORE_THAN_TEXT = ("Phi3VForCausalLM", "Phi4MMForCausalLM")
BLOCK = {"Q8_0": 32, "Q5_0": 32, "Q4_0": 32, "Q4_1": 32, "IQ4_NL": 32}  # values per scale; all other GGUF types: 256
FALLBACK = {"Q6_K": "Q8_0", "Q5_K": "Q5_1", "Q4_K": "Q5_0", "Q3_K": "Q4_0", "Q2_K": "Q4_0", "IQ4_X": "IQ4_NL"}


@dataclass(frozen=True)
class Combination:
    """One element of the product of the axes: names and their conf entries."""

    model: str
    dimensions: Dimensions
    precision: str
    family: str
    recipe_name: str
    backend: str
    backend_conf: Mapping[str, Any]
    target: str
    target_conf: Mapping[str, Any]

    @property
    def chosen(self) -> str:
        """The recipe's name: the precision's, or where it says none, the target's own."""
        own = self.target_conf["recipes"].get(self.backend, {}).get(self.family, DEFAULT)
        return str(own) if self.recipe_name == DEFAULT else self.recipe_name

    def recipe(self) -> Recipe | None:
        """The backend's recipe for this precision on this target, or None when it has none."""
        raw = self.backend_conf["recipes"].get(self.family, {}).get(self.chosen)
        if raw is None:
            return None
        where = f"backend.{self.backend}.recipes.{self.family}.{self.chosen}"
        return parse_recipe(self.chosen, Family(self.family), raw, where, self.backend_conf["methods"])

    def form(self, recipe: Recipe) -> str:
        """The recipe's input form, or what the target's provider family takes in its place."""
        family = self.target_conf["backends"].get(self.backend, "")
        changed = self.backend_conf["providers"].get(family, {})
        return str(changed.get(recipe.form, recipe.form))


def backend_knows_architecture(c: Combination) -> str | None:
    known, wanted = c.backend_conf["architectures"], c.dimensions.architecture
    if wanted in known:
        return None
    if wanted in WITH_MORE_THAN_TEXT:
        return f"models with images or speech come later: no backend here takes {wanted} yet"
    return f"{c.backend} knows {', '.join(known) or 'no architecture'}, not {wanted or 'an unnamed one'}"


def backend_has_recipe(c: Combination) -> str | None:
    recipes = c.backend_conf["recipes"].get(c.family, {})
    if not recipes:
        return f"{c.backend} has no {c.family}"
    if c.chosen not in recipes:
        return f"{c.backend} has no {c.family} recipe '{c.chosen}' ({suggest(c.chosen, recipes)})"
    return None


def backend_serves_target(c: Combination) -> str | None:
    served = c.target_conf["backends"]
    if c.backend in served:
        return None
    return f"{c.target} is served by {', '.join(served) or 'nothing'}, not by {c.backend}"


def toolchain_is_here(c: Combination) -> str | None:
    reason = c.target_conf["left_out"].get(c.backend)
    return str(reason) if reason else None


def target_takes_precision(c: Combination) -> str | None:
    precisions = c.target_conf["precisions"]
    return None if not precisions or c.family in precisions else f"{c.target} takes {', '.join(precisions)}"


def target_takes_form(c: Combination) -> str | None:
    """Whether the device takes the recipe's settings: an NPU's symmetric weights by channel, for example."""
    recipe = c.recipe()
    words = {**recipe.settings, "method": recipe.method} if recipe else {}
    for word, values in c.target_conf["takes"].items():
        value = words.get(word)
        if value is not None and value not in values:
            return f"{c.target} takes {word} {', '.join(map(str, values))}, the recipe has {value}"
    return None


def target_holds_model(c: Combination) -> str | None:
    limit = c.target_conf["max_weight_gb"]
    size = c.dimensions.parameters * BITS[c.family] / 8e9
    if not limit or size <= limit:
        return None
    return f"about {size:.1f} GB of weights, {c.target} holds {limit:g} GB (target.{c.target}.max_weight_gb)"


def group_size_divides(c: Combination) -> str | None:
    recipe = c.recipe()
    size = recipe.settings.get("group_size", -1) if recipe else -1
    if size == -1:
        return None
    for name in ("hidden_size", "intermediate_size"):
        channels = getattr(c.dimensions, name)
        if channels % size:
            return f"group size {size} does not divide {name} {channels}"
    return None


def rows_hold_the_type(c: Combination) -> str | None:
    """GGUF's K-quants come in blocks of 256 values of a row; llama.cpp quietly takes another type for other rows."""
    recipe = c.recipe()
    kind = recipe.settings.get("type") if recipe else None
    if recipe is None or kind is None or recipe.settings.get("allow_fallback"):
        return None
    block = BLOCK.get(kind, 256)
    for name in ("hidden_size", "intermediate_size"):
        channels = getattr(c.dimensions, name)
        if channels % block:
            instead = FALLBACK.get(kind[:4] if not kind.startswith("IQ") else kind[:5], "F16")
            instead = instead if block > 32 and channels % 32 == 0 else "F16"
            return (
                f"{kind} needs rows of a multiple of {block}, {name} is {channels}; llama.cpp would take {instead} "
                "there (allow_fallback: true in the recipe accepts it)"
            )
    return None


RULES: tuple[Callable[[Combination], str | None], ...] = (
    backend_knows_architecture,
    backend_serves_target,
    target_takes_precision,
    backend_has_recipe,
    target_takes_form,
    target_holds_model,
    group_size_divides,
    rows_hold_the_type,
    toolchain_is_here,
)


def why_excluded(combination: Combination) -> str | None:
    """`<rule>: <reason>` of the first rule that leaves the combination out, or None for a cell."""
    for rule in RULES:
        reason = rule(combination)
        if reason:
            return f"{rule.__name__.replace('_', '-')}: {reason}"
    return None
