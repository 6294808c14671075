"""Which combinations are cells. Each rule returns why a combination is left out, or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.errors import suggest
from pipeline.matrix.fallbacks import SMALLEST_BLOCK, other_rows, resolved, undivided
from pipeline.matrix.recipes import PER_CHANNEL, parse_recipe
from pipeline.model.architectures import ARCHITECTURES
from pipeline.model.canonical import unhonoured
from pipeline.model.dimensions import Dimensions
from pipeline.pictures.rows import MEDIA
from pipeline.types import BITS, Family, Recipe

DEFAULT = "default"
SWITCHED = "Phi3ForCausalLM"  # whose matrices runtimes have by the names that adapters have


@dataclass(frozen=True)
class Combination:
    """One element of the product of the axes: names and their conf entries; `switched` are names of adapters."""

    model: str
    dimensions: Dimensions
    precision: str
    family: str
    recipe_name: str
    backend: str
    backend_conf: Mapping[str, Any]
    target: str
    target_conf: Mapping[str, Any]
    modality: str = ""
    switched: tuple[str, ...] = ()

    @property
    def provider(self) -> str | None:
        """The provider family by which the backend serves the target, as either says; None where it does not."""
        found: str | None = self.target_conf["backends"].get(self.backend)
        return found or self.backend_conf["serves"].get(self.target)

    @property
    def chosen(self) -> str:
        """The recipe's name: the precision's, or where it says none, the target's own."""
        own = self.target_conf["recipes"].get(self.backend, {}).get(self.family, DEFAULT)
        return str(own) if self.recipe_name == DEFAULT else self.recipe_name

    @cached_property
    def recipe(self) -> Recipe | None:
        """The backend's recipe for this precision on this target and this model, or None when it has none."""
        raw = self.backend_conf["recipes"].get(self.family, {}).get(self.chosen)
        if raw is None:
            return None
        where = f"backend.{self.backend}.recipes.{self.family}.{self.chosen}"
        recipe = parse_recipe(self.chosen, Family(self.family), raw, where, self.backend_conf["methods"])
        return resolved(recipe, self.dimensions, self.backend_conf["rows"])

    def form(self, recipe: Recipe) -> str:
        """The recipe's input form, or what the target's provider family takes in its place."""
        changed = self.backend_conf["providers"].get(self.provider or "", {})
        return str(changed.get(recipe.form, recipe.form))


def backend_knows_architecture(c: Combination) -> str | None:
    known, wanted = c.backend_conf["architectures"], c.dimensions.architecture
    for name in (f"{wanted}/{c.modality}", wanted):
        if name in c.backend_conf["left_out"]:
            return str(c.backend_conf["left_out"][name])
    if wanted in known:
        return None
    if wanted in ARCHITECTURES and not ARCHITECTURES[wanted].text:
        return f"{c.backend} does not take {wanted} here yet"
    return f"{c.backend} knows {', '.join(known) or 'no architecture'}, not {wanted or 'an unnamed one'}"


def backend_honours_config(c: Combination) -> str | None:
    """A tool that computes SiLU whatever config.json says makes another model of it, in every precision alike."""
    return unhonoured(c.dimensions.traits, c.backend_conf["honours"], c.backend)


def backend_has_recipe(c: Combination) -> str | None:
    recipes = c.backend_conf["recipes"].get(c.family, {})
    if not recipes:
        return f"{c.backend} has no {c.family}"
    if c.chosen not in recipes:
        return f"{c.backend} has no {c.family} recipe '{c.chosen}' ({suggest(c.chosen, recipes)})"
    return None


def backend_serves_target(c: Combination) -> str | None:
    if c.provider:
        return None
    served = c.target_conf["backends"]
    return f"{c.target} is served by {', '.join(served) or 'nothing'}, not by {c.backend}"


def toolchain_is_here(c: Combination) -> str | None:
    reason = c.target_conf["left_out"].get(c.backend)
    return str(reason) if reason else None


def target_takes_precision(c: Combination) -> str | None:
    precisions = c.target_conf["precisions"]
    return None if not precisions or c.family in precisions else f"{c.target} takes {', '.join(precisions)}"


def target_takes_form(c: Combination) -> str | None:
    """Whether the device takes the recipe's settings: an NPU's symmetric weights by channel, for example."""
    recipe = c.recipe
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
    """Of a list, none does: the first that does was taken (`resolved`)."""
    settings = c.recipe.settings if c.recipe else {}
    size = settings.get("group_size", c.backend_conf["groups"].get(settings.get("mode"), PER_CHANNEL))
    sizes = size if isinstance(size, list) else [size]
    rows = undivided(sizes[-1], c.dimensions)
    if rows is None:
        return None
    return f"group size {sizes[-1]}{' (the last of the list)' if len(sizes) > 1 else ''} does not divide {rows}"


def model_runs_by_layer(c: Combination) -> str | None:
    """Formats for each matrix are calibrated a layer at a time."""
    settings = c.recipe.settings if c.recipe else {}
    by_layer = settings.get("table") or (settings.get("algorithm") == "gptq")
    architecture = ARCHITECTURES.get(c.dimensions.architecture)
    if not by_layer or (architecture and (architecture.layered or architecture.towers)):
        return None
    return f"{c.dimensions.architecture} is not run layer by layer here, as recipe '{c.chosen}' needs it"


def form_takes_modality(c: Combination) -> str | None:
    recipe = c.recipe
    if recipe is None:
        return None
    if not c.modality:
        return "it has no tower, which tower_bits are of" if recipe.settings.get("tower_bits") else None
    media = MEDIA[c.modality].option
    form, takes = c.form(recipe), c.backend_conf[media]
    if form not in takes:
        return f"{c.backend}'s form {form} takes no {media} here; {', '.join(takes) or 'none'} does"
    return None


def runtime_switches_adapters(c: Combination) -> str | None:
    """Where activations are quantized, or layers are not the checkpoint's, a runtime has no place for them."""
    if not c.switched or c.recipe is None:
        return None
    methods, merged = c.backend_conf["switches"], f"model.{c.model}.adapter merges one"
    if c.dimensions.architecture != SWITCHED:
        return f"adapters of {c.dimensions.architecture} are not switched here; {merged}"
    if c.recipe.method in methods:
        return None
    which = f"on builds of {', '.join(methods)}, not of {c.recipe.method}" if methods else "on none"
    return f"{c.backend} switches adapters {which}; {merged}"


def rows_hold_the_type(c: Combination) -> str | None:
    """A type comes in blocks of values of a row. Other quantized types for other rows are llama.cpp's usual mixture
    (`resolved` says so), unless the recipe forbids them; no quantized type at all is another precision.
    """
    settings = c.recipe.settings if c.recipe else {}
    rows, allowed = c.backend_conf["rows"].get(settings.get("type")), settings.get("allow_fallback")
    if rows is None or allowed:
        return None
    unfit = other_rows(SMALLEST_BLOCK if allowed is None else rows["multiple"], c.dimensions)
    if not unfit:
        return None
    kind, instead = settings["type"], "F16" if unfit[0] % SMALLEST_BLOCK else ", ".join(rows["otherwise"])
    return (
        f"{kind} needs rows of a multiple of {rows['multiple']}, the model has {', '.join(map(str, unfit))}; "
        f"{c.backend} would take {instead} there (allow_fallback: true in the recipe accepts it)"
    )


RULES: tuple[Callable[[Combination], str | None], ...] = (
    backend_knows_architecture,
    backend_honours_config,
    backend_serves_target,
    target_takes_precision,
    backend_has_recipe,
    target_takes_form,
    target_holds_model,
    group_size_divides,
    rows_hold_the_type,
    model_runs_by_layer,
    form_takes_modality,
    runtime_switches_adapters,
    toolchain_is_here,
)


def why_excluded(combination: Combination) -> str | None:
    """`<rule>: <reason>` of the first rule that leaves the combination out, or None for a cell."""
    for rule in RULES:
        reason = rule(combination)
        if reason:
            return f"{rule.__name__.replace('_', '-')}: {reason}"
    return None
