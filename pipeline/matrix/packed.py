"""How large a package will be, from a recipe's words and a model's shape: bits of layers and tables, scales included.

Within a tenth of what is built, but for recipes that choose bits by what they find (NNCF's `ratio` by parameters, mixed
types of GGUF). Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.types import BITS, Family

if TYPE_CHECKING:
    from pipeline.model.dimensions import Dimensions
    from pipeline.types import Recipe

SIXTEEN = 16  # bits of a scale
GGUF = {  # bits a weight of a whole model, as llama.cpp's quantize table has them (tools/quantize/README.md)
    "Q8_0": 8.5,
    "Q6_K": 6.56,
    "Q5_K_M": 5.68,
    "Q5_K_S": 5.52,
    "Q5_0": 5.5,
    "Q4_K_M": 4.87,
    "Q4_K_S": 4.62,
    "Q4_0": 4.55,
    "Q4_1": 5.0,
    "IQ4_NL": 4.55,
    "IQ4_XS": 4.32,
    "Q3_K_L": 4.22,
    "Q3_K_M": 3.95,
    "Q3_K_S": 3.55,
    "Q2_K": 3.1,
}
MODES = {"nvfp4": 4.5, "mxfp4": 4.25, "mxfp8": 8.25, "nf4": 4.0, "fp8_e4m3": 8.0}  # of groups of their own, if any


def package_size(recipe: Recipe, form: Mapping[str, Any], shape: Dimensions) -> int:
    """Bytes of a package's weights. `form` is the recipe's input form, as conf/backend has it."""
    table = shape.vocab_size * shape.hidden_size
    layers = shape.parameters - table * (1 if shape.tied else 2)
    wide = 32 if form.get("precision") == "fp32" else SIXTEEN
    inner, embedding, head = _bits(recipe, wide)
    once = recipe.method == "weight-only" and head < SIXTEEN and recipe.settings.get("embedding_bits", 8) <= 8
    tables = head if once else embedding + head if recipe.method == "weight-only" and embedding != head else embedding
    if shape.tower:  # the decoder is given rows: its embedding and what sees lie beside it
        sight = recipe.settings.get("tower_bits", SIXTEEN)
        stored = layers * inner + table * (SIXTEEN + head) + shape.tower * sight
    else:
        stored = layers * inner + table * (tables if shape.tied else embedding + head)
    return int(stored / 8)


def _bits(recipe: Recipe, wide: int) -> tuple[float, float, float]:
    """Bits a weight of layers, embedding and lm_head; `wide` are those of a float in the form."""
    words, family = recipe.settings, str(recipe.family)
    whole = float(BITS[family])
    if family in (Family.FP32, Family.FP16, Family.BF16) or recipe.method in ("none", "mixed"):
        return whole, whole, whole
    if recipe.method == "gguf":
        return (GGUF.get(str(words.get("type")), whole),) * 3
    group, mode = words.get("group_size", -1), str(words.get("mode", ""))
    if recipe.method == "weight-only" and "bits" in words:
        scale = SIXTEEN if words.get("algorithm") == "gptq" else wide
        beside = (scale + (0 if words.get("symmetric", True) else words["bits"])) / group
        bits = [words["bits"], words.get("embedding_bits", 32), words.get("lm_head_bits", words["bits"])]
        inner, embedding, head = (bit + (beside if bit <= 8 else 0) for bit in bits)
        return inner, embedding, head
    if recipe.method in ("nncf", "mlx"):
        bits = words.get("bits", 8 if "8" in mode else 4)
        beside = 0.0 if not isinstance(group, int) or group < 0 else SIXTEEN / group
        if recipe.method == "mlx":
            every = MODES.get(mode, bits + 2 * beside)
            return every, every, every
        tables = bits + beside if words.get("all_layers") else 8.0
        narrow = MODES.get(mode, bits + beside + (bits * beside / SIXTEEN if mode.endswith("_asym") else 0))
        ratio = float(words.get("ratio", 1.0))
        return ratio * narrow + (1 - ratio) * 8, tables, tables
    return whole, whole, whole
