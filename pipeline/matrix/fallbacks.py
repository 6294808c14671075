"""What a recipe becomes on a model whose dimensions do not hold its first choice; said in its settings (`fallback`).

Groups: `group_size: [128, 64, 32]` is the first that divides every row. Types: a GGUF type of 256 values a block is
mixed with types of 32 where rows are no multiple of 256, as llama.cpp does it (tensor_type_fallback, llama-quant.cpp).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.matrix.recipes import PER_CHANNEL
from pipeline.model.dimensions import Dimensions
from pipeline.types import Recipe

ROWS = ("hidden_size", "intermediate_size")
SMALLEST_BLOCK = 32  # of a quantized type
FALLBACK = "fallback"  # the word that says so, which no recipe can be given


def resolved(recipe: Recipe, dimensions: Dimensions, rows: Mapping[str, Any]) -> Recipe:
    """The recipe as it is made for these dimensions; `rows` are the backend's, see RowsConf."""
    settings, said = dict(recipe.settings), []
    sizes = settings.get("group_size")
    if isinstance(sizes, Sequence):
        fitting = [size for size in sizes if undivided(size, dimensions) is None]
        if fitting:
            settings["group_size"] = fitting[0]
        if fitting and fitting[0] != sizes[0]:
            said.append(f"group_size {fitting[0]}, as {sizes[0]} does not divide {undivided(sizes[0], dimensions)}")
    kind = rows.get(str(settings.get("type")))
    if kind and (narrow := other_rows(kind["multiple"], dimensions)):
        types = ["F16"] if narrow[0] % SMALLEST_BLOCK else kind["otherwise"]
        said.append(f"{', '.join(types)} for rows of {', '.join(map(str, narrow))}")
    return replace(recipe, settings={**settings, FALLBACK: "; ".join(said)} if said else settings)


def undivided(size: int, dimensions: Dimensions) -> str | None:
    """`hidden_size 576`: the first dimension that groups of `size` do not divide, or None."""
    for name in ROWS:
        channels = getattr(dimensions, name)
        if size != PER_CHANNEL and channels % size:
            return f"{name} {channels}"
    return None


def other_rows(multiple: int, dimensions: Dimensions) -> list[int]:
    """The lengths of rows, ascending, that are no multiple."""
    return sorted({getattr(dimensions, name) for name in ROWS if getattr(dimensions, name) % multiple})
