"""The stages that find a build's formats: planned where its recipe says `table: fit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.entries import CalibrationText, Fit, Sensitivity, Variants
from pipeline.errors import ConfigError, suggest
from pipeline.matrix.checks import data_of
from pipeline.matrix.rules import Combination
from pipeline.planned import FitEntry, Plan, SensitivityEntry, VariantsEntry
from pipeline.types import Family, Recipe

FOUND = "fit"  # as a recipe's table: found by a search
BOUNDS = (
    "max_kl_nats",
    "min_top1_agreement",
    "max_perplexity_increase",
    "max_package_mb",
)  # gates that a search can meet
WAYS = ("rounding", "noise", "fisher")  # to a matrix's sensitivity
LEAST = {"sensitivity_windows": 1, "calibration_windows": 1, "windows": 0, "builds": 1, "exchanges": 0}
PLACES = {"layers": "formats", "embedding": "embedding_formats", "lm_head": "lm_head_formats"}  # and the recipe's words


def check_search(config: Mapping[str, Any]) -> list[str]:
    """Everything wrong with how formats shall be found, and with the bounds of precisions."""
    search = config["search"]
    problems = [f"search.{key} must be at least {least}" for key, least in LEAST.items() if search[key] < least]
    if search["sensitivity"] not in WAYS:
        known = suggest(search["sensitivity"], WAYS)
        problems.append(f"search.sensitivity '{search['sensitivity']}' is none of {', '.join(WAYS)} ({known})")
    for name, option in config["precision"].items():
        where = f"precision.{name}.bounds"
        if option["bounds"] and option["family"] != Family.FIT:
            problems.append(f"{where}: bounds are for the family {Family.FIT}, not for {option['family']}")
        for bound, value in option["bounds"].items():
            if bound not in BOUNDS:
                problems.append(f"{where}: unknown bound '{bound}' ({suggest(bound, BOUNDS)})")
            elif value < 0:
                problems.append(f"{where}.{bound}: {value:g} is negative")
    return problems


def is_found(recipe: Recipe) -> bool:
    """Whether the recipe's formats are found by a search."""
    return recipe.settings.get("table") == FOUND


def bounds_of(c: Combination, own: Mapping[str, float]) -> dict[str, float]:
    """Within what a search has to stay: the precision's own bounds, or else the target's gates.

    Raises ConfigError where there is none.
    """
    gates = own or c.target_conf["gates"]
    bounds = {name: float(gates[name]) for name in BOUNDS if gates.get(name) is not None}
    if not bounds:
        raise ConfigError(
            f"there is no bound to search within: {c.target} has no gate of {', '.join(BOUNDS)}",
            where=f"precision {c.precision}",
            hint=f"set precision.{c.precision}.bounds.max_kl_nats, or target.{c.target}.gates.max_kl_nats",
        )
    return bounds


def label(bounds: Mapping[str, float]) -> str:
    """`kl100m-top900m`: the bounds as part of a build's name, in thousandths."""
    short = {"max_kl_nats": "kl", "min_top1_agreement": "top", "max_perplexity_increase": "ppl", "max_package_mb": "mb"}
    return "-".join(f"{short[name]}{round(value * 1e6) / 1e3:g}m".replace(".", "o") for name, value in bounds.items())


def add_search(
    plan: Plan,
    c: Combination,
    recipe: Recipe,
    build: str,
    export: str,
    bounds: Mapping[str, float],
    config: Mapping[str, Any],
) -> None:
    """The entries that find the formats of `build`: sensitivity once a model, variants once a backend and form."""
    search, weights = config["search"], plan.models[c.model].weights
    text = CalibrationText(data_of(c.model, "calibration", config), config["evaluate"]["window"])
    plan.sensitivities.setdefault(
        c.model,
        SensitivityEntry(
            weights,
            text.text,
            Sensitivity(weights, text, search["sensitivity_windows"], search["sensitivity"], config["seed"]),
        ),
    )
    key, settings = f"{export}-{recipe.name}", recipe.settings
    formats = {place: tuple(settings.get(word, settings["formats"])) for place, word in PLACES.items()}
    if c.modality:  # its embedding lies apart, and keeps its type
        del formats["embedding"]
    plan.variants.setdefault(
        key,
        VariantsEntry(
            c.model,
            c.backend,
            weights,
            text.text,
            Variants(
                c.model,
                c.backend,
                weights,
                plan.exports[export].convert.form,
                formats,
                text,
                search["calibration_windows"],
            ),
        ),
    )
    evaluate, slow = config["evaluate"], c.backend_conf["slow"]
    fit = Fit(
        model=c.model,
        backend=c.backend,
        export=export,
        weights=weights,
        variants=key,
        recipe=recipe,
        calibration=text,
        bounds=bounds,
        windows=min(search["windows"], evaluate["slow_tokens"] // evaluate["window"]) if slow else search["windows"],
        builds=search["builds"],
        exchanges=search["exchanges"],
        modality=c.modality,
    )
    plan.fits[build] = FitEntry(c.model, c.backend, export, weights, text.text, key, fit)
