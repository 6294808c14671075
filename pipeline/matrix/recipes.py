"""The vocabulary of recipes: words that mean the same on every backend, and what a backend's methods take of it.

A user learns `bits`, `group_size`, `symmetric`, `ratio`, `awq` … once. A backend's YAML names its methods with the
words and values they take; planning holds recipes against that, without importing any tool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import ConfigError, suggest
from pipeline.types import Family, Recipe

# word → its type; a method may narrow it to a list of values, and may bring words of its own with their values
WORDS: dict[str, type | tuple[type, ...]] = {
    "bits": int,
    "group_size": int,  # or a list: the first that divides every row of the model
    "symmetric": bool,
    "accuracy_level": int,
    "lm_head_bits": int,
    "embedding_bits": int,
    "tower_bits": int,
    "algorithm": str,
    "per_channel": bool,
    "activation_bits": int,
    "calibration": str,
    "calibration_windows": int,
    "distill_epochs": int,
    "mode": str,
    "ratio": (float, int),
    "sensitivity_metric": str,
    "awq": bool,
    "scale_estimation": bool,
    "gptq": bool,
    "lora_correction": bool,
    "dwq": bool,
    "all_layers": bool,
    "smooth_quant": bool,
    "overflow_fix": str,
    "mixed": str,
    "type": str,
    "imatrix": str,
    "allow_fallback": bool,
    "table": str,
    "formats": list,
    "embedding_formats": list,
    "lm_head_formats": list,
}
PER_CHANNEL = -1  # as a group size
POSITIVE = ("group_size", "calibration_windows")


def parse_recipe(
    name: str, family: Family, raw: Mapping[str, Any], where: str, methods: Mapping[str, Mapping[str, Any]]
) -> Recipe:
    """A checked recipe from a backend's YAML, whose `methods` say what each takes.

    Raises ConfigError that lists everything wrong at once.
    """
    method, form = str(raw.get("method")), raw.get("form")
    if method not in methods:
        raise ConfigError(f"unknown method '{method}'", where=where, hint=suggest(method, methods))
    if not isinstance(form, str):
        raise ConfigError("a recipe needs `form: <the backend's input form>`", where=where)
    settings: dict[str, Any] = {
        word: value for word, value in raw.items() if word not in ("method", "form") and value is not None
    }
    takes = methods[method]["words"]
    problems = [problem for word, value in settings.items() if (problem := _problem(method, takes, word, value))]
    problems += [line for limit in methods[method]["limits"] for line in _outside(settings, limit)]
    if problems:
        raise ConfigError("; ".join(problems), where=where)
    return Recipe(name, family, method, form, settings)


def _problem(method: str, takes: Mapping[str, Any], word: str, value: Any) -> str | None:
    if word not in takes:
        return f"method {method} takes no '{word}' ({suggest(word, takes)})"
    kind: Any = WORDS.get(word, object)
    if word == "group_size" and isinstance(value, list) and value:
        return next((found for size in value if (found := _problem(method, takes, word, size))), None)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, object)):
        return f"'{word}: {value!r}' has the wrong type"
    if takes[word] and value not in takes[word]:
        return f"'{word}: {_plain(value)}' is none of {_listed(takes[word])}"
    if word == "ratio" and not 0 <= value <= 1:
        return f"'ratio: {value}' is not between 0 and 1"
    if word in POSITIVE and value < 1 and not (word == "group_size" and value == PER_CHANNEL):
        return f"'{word}: {value}' is not positive"
    return None


def _outside(settings: Mapping[str, Any], limit: Mapping[str, Any]) -> list[str]:
    """What a limit of the method forbids, where the recipe is one of those it is for."""
    where = limit["where"]
    if not applies(settings, where):
        return []
    case = " and ".join(f"{word} {_plain(settings[word])}" for word in where)
    only, takes = limit["only"], limit["takes"]
    problems = [f"{case} takes no '{word}'" for word in settings if only and word not in (*only, *where)]
    for word, values in takes.items():
        if settings.get(word) not in values:
            problems.append(f"{case} takes {word} {_listed(values)}, not {_plain(settings.get(word))}")
    return problems


def applies(settings: Mapping[str, Any], case: Mapping[str, Iterable[Any]]) -> bool:
    """Whether settings have one of the values of every word of a case; an empty case is every recipe."""
    return all(word in settings and settings[word] in values for word, values in case.items())


def needs_calibration(recipe: Recipe, methods: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the recipe reads the calibration split (and so depends on it)."""
    return any(applies(recipe.settings, case) for case in methods[recipe.method]["calibrates"])


def draws(recipe: Recipe, methods: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the recipe draws random numbers (and so depends on `seed`)."""
    return any(applies(recipe.settings, case) for case in methods[recipe.method]["draws"])


def _plain(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(_plain, values))
