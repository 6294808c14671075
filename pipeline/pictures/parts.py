"""What the layouts of models that see or hear have in common: parts, needed tensors. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.adapter import Adapter
from pipeline.model.checkpoint import Tensor
from pipeline.types import JSON

PATCH, CHANNELS = 14, 3  # a patch's side in pixels
REFETCH = "copy or fetch the checkpoint again"


@dataclass(frozen=True)
class Parts:
    """Tensors of the decoder by their plain names, those of what sees or hears by transformers' names, its sizes.

    tower: what transformers' config of it takes. adapter: of the decoder, where its layout has one.
    """

    text: Mapping[str, Tensor]
    beside: Mapping[str, Tensor]
    tower: JSON
    adapter: Adapter | None = None


def tower_of(
    seen: Mapping[str, Tensor], config: Mapping[str, Any], prefix: str, place: str, heads: int, where: str
) -> JSON:
    """Sizes of the tower below `prefix`, of its tensors: width, inner width, layers; `heads` unless config.json says.

    place: the beginning of its tensors' whole names. Raises CheckpointError where there are too few.
    """
    layers = layers_of(seen, f"{prefix}encoder.layers.")
    table, inner = (
        seen.get(f"{prefix}{name}.weight") for name in ("embeddings.position_embedding", "encoder.layers.0.mlp.fc1")
    )
    if table is None or inner is None or layers < 2:
        raise CheckpointError(
            f"its tower is not whole: tensors {place}{prefix}… are missing", where=where, hint=REFETCH
        )
    said = config.get("vision_tower")
    heads = (said if isinstance(said, dict) else {}).get("num_attention_heads", heads)
    width = table.shape[-1]
    if not positive(heads) or width % heads:
        raise CheckpointError(f"its tower of width {width} has {heads!r:.20} heads", where=where)
    return {
        "hidden_size": width,
        "intermediate_size": inner.shape[0],
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


def shapes_of(tower: Mapping[str, int], prefix: str, hidden: int, rows: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of all of a tower's layers but the last, and of a projector of `rows` inputs to `hidden`."""
    d, inner = tower["hidden_size"], tower["intermediate_size"]
    shapes = {
        **{f"layer_norm{n}": ((d,), (d,)) for n in (1, 2)},
        **{f"self_attn.{part}_proj": ((d, d), (d,)) for part in ("q", "k", "v", "out")},
        "mlp.fc1": ((inner, d), (inner,)),
        "mlp.fc2": ((d, inner), (d,)),
    }
    for layer in range(tower["num_hidden_layers"] - 1):
        for name, (weight, bias) in shapes.items():
            at = f"{prefix}encoder.layers.{layer}.{name}"
            yield from ((f"{at}.weight", weight), (f"{at}.bias", bias))
    yield from (("glb_GN", (1, 1, rows)), ("sub_GN", (1, 1, 1, rows)))
    yield from (("img_projection.0.weight", (hidden, rows)), ("img_projection.0.bias", (hidden,)))
    yield from (("img_projection.2.weight", (hidden, hidden)), ("img_projection.2.bias", (hidden,)))


def layers_of(seen: Mapping[str, Tensor], prefix: str) -> int:
    """How many layers there are below `prefix`; 0 where some between are missing."""
    found = {int(match[1]) for name in seen if (match := re.match(rf"{re.escape(prefix)}(\d+)\.", name))}
    return len(found) if found == set(range(len(found))) else 0


def check_named(
    seen: Mapping[str, Tensor],
    needed: Mapping[str, tuple[int, ...]],
    unused: tuple[str, ...],
    prefix: str,
    where: str,
) -> None:
    """Raises CheckpointError for a tensor that is missing, of another shape, or neither needed nor `unused`.

    Names are without `prefix`; `unused` are beginnings of those that may be there.
    """
    absent = [name for name in needed if name not in seen]
    extra = sorted(
        name for name in seen if name not in needed and not name.startswith(unused) and "position_ids" not in name
    )
    if absent:
        raise CheckpointError(
            f"{len(absent)} tensors of its tower are missing, the first is {prefix}{absent[0]}",
            where=where,
            hint=REFETCH,
        )
    if extra:
        raise CheckpointError(f"it holds a tensor that is not known: {prefix}{extra[0]}", where=where)
    for name, shape in needed.items():
        if seen[name].shape != shape:
            raise CheckpointError(
                f"{prefix}{name} has shape {list(seen[name].shape)}, its tower's sizes give {list(shape)}", where=where
            )


def check_computed(said: Any, computed: Mapping[str, Any], named: str, where: str) -> None:
    """Raises CheckpointError where a part of config.json, `named`, says something else than is computed here."""
    for key, value in computed.items():
        if isinstance(said, dict) and said.get(key, value) != value:
            raise CheckpointError(
                f"config.json's {named}.{key} is {said[key]!r:.40}; {value!r} is computed here", where=where
            )


def positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
