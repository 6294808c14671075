"""Greedy generation by a model that is too large to hold: a layer at a time, for all prompts at once.

Each step reads the whole checkpoint, once for all of them. Keys and values wait in a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.model.checkpoint import EMBEDDING, read_float32
from pipeline.model.layer_by_layer import Layers
from pipeline.types import JSON

Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # of normed states [n, width]: [n, vocabulary]
STATES = ".states"


@dataclass(frozen=True)
class Prompt:
    """Token ids [length] to go on with: up to one of `stops`, or `count` tokens."""

    ids: NDArray[np.int64]
    count: int
    stops: Collection[int] = ()


def scratch_size(config: JSON, prompts: Sequence[Prompt]) -> int:
    """Bytes that keys, values and states take on the disk."""
    heads, width = config["num_attention_heads"], config["hidden_size"]
    dim = config.get("head_dim") or width // heads
    kept = 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * dim
    size: int = 4 * sum(kept * (len(prompt.ids) + prompt.count) + width * len(prompt.ids) for prompt in prompts)
    return size


def answers_by_layer(
    folder: Path,
    weights: Path,
    prompts: Sequence[Prompt],
    logits: Logits,
    scratch: Path,
    report: Callable[[int, int], None],
    put: Callable[[int, NDArray[np.float32]], None] = lambda number, rows: None,
) -> list[list[int]]:
    """The most likely tokens after each prompt, with the one of `stops` that ends them.

    `scratch` is a file that is not there yet; `put` gets a prompt's number and its rows [length, width] of the
    embedding, and may change them in place.
    """
    import torch

    layers = Layers(folder, weights)
    cache = _Cache(layers.config, len(layers), prompts, scratch)
    with torch.inference_mode():
        lasts = _prefill(layers, prompts, cache, scratch.with_name(scratch.name + STATES), put)
        found: list[list[int]] = [[] for _ in prompts]
        going, most = list(range(len(prompts))), max((prompt.count for prompt in prompts), default=0)
        for done in range(1, most + 1):
            with layers.norm() as norm:
                tokens = logits(norm(lasts).numpy()).argmax(axis=-1)
            for number, token in zip(going, tokens.tolist(), strict=True):
                found[number].append(token)
            going = [
                number
                for number in going
                if len(found[number]) < prompts[number].count and found[number][-1] not in prompts[number].stops
            ]
            report(done, most)
            if not going:
                break
            lasts = _step(layers, cache, going, [found[number][-1] for number in going])
    report(most, most)
    del cache
    scratch.unlink()
    return found


class _Cache:
    """Keys and values [layers, heads, places, dim] of all prompts, each prompt's places one behind the other.

    A layer of transformers calls `update`, as it would a cache of its own.
    """

    def __init__(self, config: Any, layers: int, prompts: Sequence[Prompt], file: Path) -> None:
        rooms = [len(prompt.ids) + prompt.count for prompt in prompts]
        self.first = list(accumulate(rooms, initial=0))
        self.lengths = [len(prompt.ids) for prompt in prompts]
        self.places = np.empty(0, np.int64)  # of what comes next
        self.alone = True  # a prompt from an empty cache: it looks at nothing else
        dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (2, layers, config.num_key_value_heads, self.first[-1], dim)
        self._kept = np.memmap(file, np.float32, "w+", shape=shape)

    def update(self, keys: Any, values: Any, layer: int, *_: Any) -> tuple[Any, Any]:
        """Keep keys and values [1, heads, n, dim] in the n places; what they are attended with."""
        import torch

        own = self._kept[:, layer]
        own[0][:, self.places], own[1][:, self.places] = keys[0].numpy(), values[0].numpy()
        return (keys, values) if self.alone else (torch.from_numpy(own[0])[None], torch.from_numpy(own[1])[None])

    def mask(self, numbers: Sequence[int], window: int | None) -> Any:
        """Additive [1, 1, n, places]: the next token of each prompt sees its own prompt's, within the window."""
        import torch

        seen = torch.full((len(numbers), self.first[-1]), torch.finfo(torch.float32).min)
        for row, number in zip(seen, numbers, strict=True):
            start, length = self.first[number], self.lengths[number]
            row[start + max(0, length + 1 - (window or length + 1)) : start + length + 1] = 0.0
        return seen[None, None]


def _prefill(
    layers: Layers, prompts: Sequence[Prompt], cache: _Cache, scratch: Path, put: Callable[[int, Any], None]
) -> Any:
    """The last state [prompts, width] of each prompt, not normed; keys and values of all are kept."""
    import torch

    states = layers.embedded([prompt.ids for prompt in prompts], scratch)
    for number, rows in enumerate(states):
        put(number, rows)
    for layer in range(len(layers)):
        with layers.layer(layer) as module:
            for state, (first, _) in zip(states, pairwise(cache.first), strict=True):
                cache.places = np.arange(first, first + len(state))
                state[:] = layers.run(module, torch.from_numpy(state)[None], cache)[0].numpy()
    cache.alone = False
    lasts = torch.from_numpy(np.stack([state[-1] for state in states]))
    del states
    scratch.unlink()
    return lasts


def _step(layers: Layers, cache: _Cache, numbers: Sequence[int], tokens: Sequence[int]) -> Any:
    """States [prompts, width] of one more token of each of these prompts.

    LongRoPE has other frequencies for a text above its original length: such prompts go through a layer apart.
    """
    import torch

    ids = np.asarray(tokens, np.int64)
    hidden = torch.from_numpy(read_float32(layers.tensors[EMBEDDING], ids))
    long = getattr(layers.config, "original_max_position_embeddings", None) or math.inf
    window = getattr(layers.config, "sliding_window", None)
    groups = []
    for above in (False, True):
        rows = [row for row, number in enumerate(numbers) if (cache.lengths[number] >= long) is above]
        if rows:
            some = [numbers[row] for row in rows]
            positions = torch.tensor([[cache.lengths[number] for number in some]])
            places = np.asarray([cache.first[number] + cache.lengths[number] for number in some])
            groups.append((rows, positions, places, cache.mask(some, window)))
    for layer in range(len(layers)):
        with layers.layer(layer) as module:
            for rows, positions, places, mask in groups:
                cache.places = places
                hidden[rows] = layers.go_on(module, hidden[rows][None], positions, mask, cache)[0]
    for number in numbers:
        cache.lengths[number] += 1
    return hidden
