"""Greedy generation in transformers: what builds' continuations and answers are held against."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 16  # prompts at a time


def greedy(model: Any, prompts: NDArray[np.int64], count: int, stops: Collection[int] = ()) -> NDArray[np.int64]:
    """The most likely token after prompts [n, length], `count` times: tokens [n, count].

    Without `stops` no token ends it; with them it ends where every row has had one: tokens [n, at most count].
    """
    import torch

    tokens, cache, made = torch.from_numpy(prompts), None, []
    going = np.ones(len(prompts), bool)
    with torch.inference_mode():
        for _ in range(count):
            done = model(input_ids=tokens, past_key_values=cache, use_cache=True)
            cache, tokens = done.past_key_values, done.logits[:, -1:].argmax(dim=-1)
            made.append(tokens)
            going &= ~np.isin(tokens[:, 0].numpy(), list(stops))
            if not going.any():
                break
        found: NDArray[np.int64] = torch.cat(made, dim=1).numpy()
    return found


def answers(model: Any, prompts: Sequence[Sequence[int]], count: int, stops: Collection[int]) -> list[list[int]]:
    """The greedy answer to each prompt, with the token that ends it; `count` tokens where none does.

    Prompts of one length are computed together; nothing is padded.
    """
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    found: list[list[int]] = [[] for _ in prompts]
    while order:
        length = len(prompts[order[0]])
        some = [number for number in order if len(prompts[number]) == length][:MOST]
        ids = np.asarray([prompts[number] for number in some], np.int64)
        for number, row in zip(some, greedy(model, ids, count, stops).tolist(), strict=True):
            end = next((place for place, token in enumerate(row, 1) if token in stops), len(row))
            found[number] = row[:end]
        order = [number for number in order if number not in some]
    return found
