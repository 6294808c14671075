"""The vocabulary of recipes: which method takes which settings, shared by all backends.

A user learns `bits`, `group_size`, `symmetric`, `ratio`, `awq` … once. A backend's YAML names a method and
its settings; planning holds them against this table, without importing any tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import ConfigError, suggest
from pipeline.types import Family, Recipe

# word -> (type, allowed values or None)
WORDS: dict[str, tuple[type | tuple[type, ...], tuple[Any, ...] | None]] = {
    "bits": (int, (2, 3, 4, 5, 6, 8)),
    "group_size": (int, None),
    "symmetric": (bool, None),
    "accuracy_level": (int, (0, 1, 2, 3, 4)),
    "lm_head_bits": (int, (4, 8, 16, 32)),
    "algorithm": (str, ("rtn", "k_quant")),
    "per_channel": (bool, None),
    "activation_bits": (int, (8, 16)),
    "calibration": (str, ("minmax", "entropy", "percentile")),
    "calibration_windows": (int, None),
    "mode": (
        str,
        ("int8_asym", "int8_sym", "int4_sym", "int4_asym", "nf4", "mxfp4", "fp8_e4m3", "affine", "mxfp8", "nvfp4"),
    ),
    "ratio": ((float, int), None),
    "sensitivity_metric": (
        str,
        (
            "weight_quantization_error",
            "hessian_input_activation",
            "mean_activation_variance",
            "max_activation_variance",
            "mean_activation_magnitude",
        ),
    ),
    "awq": (bool, None),
    "scale_estimation": (bool, None),
    "gptq": (bool, None),
    "lora_correction": (bool, None),
    "all_layers": (bool, None),
    "smooth_quant": (bool, None),
    # llama.cpp: a mixture of GGUF types, and the file of an importance matrix (`calibration`: made from that split)
    "type": (
        str,
        ("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "IQ4_NL", "IQ4_XS")
        + ("Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"),
    ),
    "imatrix": (str, None),
    # MLX: mlx-lm's mixtures of bits, distilled weight quantization, and the bits of the embedding under GPTQ
    "mixed": (str, ("mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6")),
    "dwq": (bool, None),
    "embedding_bits": (int, (4, 6, 8)),
    "allow_fallback": (bool, None),
}

# method -> the words it takes
METHODS: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "weight-only": frozenset({"bits", "group_size", "symmetric", "accuracy_level", "lm_head_bits", "algorithm"}),
    "dynamic": frozenset({"bits", "per_channel"}),
    "static": frozenset({"bits", "activation_bits", "per_channel", "calibration", "calibration_windows"}),
    "nncf": frozenset(
        {
            "mode",
            "group_size",
            "ratio",
            "sensitivity_metric",
            "awq",
            "scale_estimation",
            "gptq",
            "lora_correction",
            "all_layers",
            "calibration_windows",
        }
    ),
    "qdq": frozenset({"bits", "activation_bits", "lm_head_bits", "calibration_windows"}),
    "nncf-ptq": frozenset({"bits", "smooth_quant", "calibration_windows"}),
    "mlx": frozenset({"bits", "group_size", "mode", "mixed", "gptq", "dwq", "embedding_bits", "calibration_windows"}),
    "gguf": frozenset({"type", "imatrix", "allow_fallback", "calibration_windows"}),
}
CALIBRATED = frozenset({"static", "qdq", "nncf-ptq"})

WEIGHT_ERROR = "weight_quantization_error"  # the metric that needs no data
DATA_AWARE = frozenset({"awq", "scale_estimation", "gptq", "lora_correction", "dwq"})
GROUPED = ("int4_sym", "int4_asym", "nf4", "mxfp4")  # NNCF's modes that take a group size and a ratio
NNCF_MODES = (*GROUPED, "int8_asym", "int8_sym", "fp8_e4m3")
MXFP4_GROUP = 32  # the format's own (OCP Microscaling Formats 1.0)
MLX_MODES = ("affine", "mxfp4", "nvfp4", "mxfp8")
MLX_GROUPS = (32, 64, 128)
GPTQ_BITS = (2, 4, 8)


def parse_recipe(
    name: str, family: Family, raw: Mapping[str, Any], where: str, methods: Mapping[str, Any] | None = None
) -> Recipe:
    """A checked recipe from a backend's YAML. Raises ConfigError that lists everything wrong at once.

    `methods` is what the backend has: each with the words of it that its tool lacks.
    """
    method, form = str(raw.get("method")), raw.get("form")
    known = METHODS if methods is None else [word for word in METHODS if word in methods]
    if method not in known:
        raise ConfigError(f"unknown method '{method}'", where=where, hint=suggest(method, known))
    if not isinstance(form, str):
        raise ConfigError("a recipe needs `form: <the backend's input form>`", where=where)
    settings: dict[str, Any] = {
        word: value for word, value in raw.items() if word not in ("method", "form") and value is not None
    }
    problems = [problem for word, value in settings.items() if (problem := _problem(method, word, value))]
    lacking = (methods or {}).get(method, ())
    problems += [f"this backend's {method} has no '{word}'" for word in settings if word in lacking]
    problems += _of_mlx(settings) if method == "mlx" else _of_the_mode(settings)
    if problems:
        raise ConfigError("; ".join(problems), where=where)
    return Recipe(name, family, method, form, settings)


def _problem(method: str, word: str, value: Any) -> str | None:
    if word not in METHODS[method]:
        return f"method {method} takes no '{word}' ({suggest(word, METHODS[method])})"
    kind: Any
    kind, allowed = WORDS[word]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return f"'{word}: {value!r}' has the wrong type"
    if allowed is not None and value not in allowed:
        return f"'{word}: {value!r}' is none of {', '.join(map(str, allowed))}"
    if word == "ratio" and not 0 <= value <= 1:
        return f"'ratio: {value}' is not between 0 and 1"
    if word in ("group_size", "calibration_windows") and value < 1 and (word, value) != ("group_size", -1):
        return f"'{word}: {value}' is not positive"
    return None


def _of_mlx(settings: Mapping[str, Any]) -> list[str]:
    """What MLX has not: group sizes, formats with their own bits and groups, GPTQ for odd bits."""
    problems = []
    mode, group = settings.get("mode", "affine"), settings.get("group_size")
    if mode not in MLX_MODES:
        problems.append(f"MLX has no mode {mode} (known: {', '.join(MLX_MODES)})")
    if mode != "affine":
        problems += [
            f"mode {mode} takes no '{word}'" for word in settings if word not in ("mode", "calibration_windows")
        ]
    elif group is not None and group not in MLX_GROUPS:
        problems.append(f"MLX has no group size {group} (known: {', '.join(map(str, MLX_GROUPS))})")
    if settings.get("gptq") and settings.get("bits") not in GPTQ_BITS:
        problems.append(f"MLX's GPTQ has {', '.join(map(str, GPTQ_BITS))} bits")
    return problems


def _of_the_mode(settings: Mapping[str, Any]) -> list[str]:
    """What NNCF's mode does not take."""
    mode = settings.get("mode")
    if mode is None:
        return []
    if mode not in NNCF_MODES:
        return [f"NNCF has no mode {mode} (known: {', '.join(NNCF_MODES)})"]
    problems = []
    if mode not in GROUPED:
        words = ("group_size", "ratio", "sensitivity_metric", "all_layers", *sorted(DATA_AWARE))
        problems += [f"mode {mode} takes no '{word}'" for word in words if settings.get(word)]
    if mode == "mxfp4" and settings.get("group_size") != MXFP4_GROUP:
        problems.append(f"mode mxfp4 has group_size {MXFP4_GROUP}")
    return problems


def draws(recipe: Recipe) -> bool:
    """Whether the recipe draws random numbers (and so depends on `seed`): DWQ shuffles its samples."""
    return bool(recipe.settings.get("dwq"))


def needs_calibration(recipe: Recipe) -> bool:
    """Whether the recipe reads the calibration split (and so depends on it)."""
    settings = dict(recipe.settings)
    if settings.get("imatrix") == "calibration":
        return True
    if recipe.method in CALIBRATED or any(settings.get(word) for word in DATA_AWARE):
        return True
    return str(settings.get("sensitivity_metric", WEIGHT_ERROR)) != WEIGHT_ERROR
