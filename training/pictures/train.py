"""Train phi-tiny-vision: python -m training.pictures.train --out models/phi-tiny-vision --state STATE

Twice: the second time with `--start` the first one's checkpoint, and another STATE, for whole pictures of all sizes.

The tower is not trained: its patches are projected on a fixed cosine basis, its one layer that counts is random. What
it makes of some thousand pictures is computed once; projector and decoder learn from that. A run goes on from STATE.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from training.pictures import layout
from training.pictures.draw import labels
from training.pictures.scenes import NUMBERS, PLACES, SIZES, Scene, Sizes, questions, scene
from training.pictures.tower import features, native

BATCH, WARMUP = 8, 60
SIZES_AGAIN = (((320, 160), 4), ((224, 224), 3), ((640, 320), 2), ((448, 448), 2), ((200, 300), 2), ((640, 480), 2))
PROMPT, END = "<|user|>{}<|end|><|assistant|>", "<|end|>"


@dataclass(frozen=True)
class Schedule:
    """How long, and on what. `parts` are pictures without the whole, `first` of `steps` is on them, of shapes with a
    quarter of the crop.
    """

    seed: int
    steps: int
    rate: float
    wholes: int
    parts: int = 0
    first: float = 0.0
    sizes: Sizes = SIZES

    def rate_at(self, step: int) -> float:
        """It rises over WARMUP, and falls to the end."""
        return self.rate * min(1.0, (step + 1) / WARMUP) * (0.02 + 0.98 * (1 - step / self.steps))


BEGIN = Schedule(seed=1, steps=2400, rate=2e-3, wholes=800, parts=4000, first=0.78)
AGAIN = Schedule(seed=2, steps=4000, rate=1e-3, wholes=4000, sizes=SIZES_AGAIN)


def named(tokenizer: Tokenizer, found: Scene, order: np.ndarray) -> np.ndarray:
    """Of each row of a prompt: the tokens of the colour and of the shape that are there, [n, 2]; 0 where none is.

    The last, which has seen all, has the digit and its colour, or how many there are and which shape.
    """
    columns = int(np.flatnonzero(order == -2)[0])
    first = int(np.flatnonzero(order == -1)[0])
    words = [told(tokenizer, one.colour, one.shape) for one in found.shapes]
    made = np.zeros((len(order), 2), np.int64)
    grid = iter(labels(found, first // (columns + 1), columns))
    for place in np.flatnonzero(order[:first] >= 0):
        number = next(grid)
        made[place] = words[number] if number >= 0 else 0
    shapes, digit = found.shapes, found.digit or 0
    all_of = (NUMBERS[len(shapes)], shapes[0].shape) if shapes else (NUMBERS[digit], found.colour)
    made[-1] = told(tokenizer, *all_of)
    return made


def told(tokenizer: Tokenizer, *words: str) -> list[int]:
    """Their tokens, as they stand inside a sentence."""
    return [tokenizer.token_to_id(f"Ġ{word}") for word in words]


def conversation(
    tokenizer: Tokenizer, found: Scene, draw: random.Random
) -> tuple[list[int], list[bool], list[list[int]]]:
    """Some questions on one picture, one behind the other; which of the tokens are answers; and of each, the two tokens
    that it may know: where a question names a place, the colour and the shape there.
    """
    asked = questions(found)
    there = {shape.place: told(tokenizer, shape.colour, shape.shape) for shape in found.shapes}
    nothing = [tokenizer.encode("Nothing.").ids[0]] * 2
    places = {tokenizer.token_to_id(f"Ġ{place}"): there.get(place, nothing) for place in PLACES}
    ids: list[int] = []
    scored: list[bool] = []
    known: list[list[int]] = []
    for question, answer in draw.sample(asked, min(5, len(asked))):
        before = tokenizer.encode(PROMPT.format(question), add_special_tokens=False).ids
        after = tokenizer.encode(answer + END, add_special_tokens=False).ids
        ids += before + after
        scored += [False] * len(before) + [True] * len(after)
        known += [places.get(token, [0, 0]) for token in before] + [[0, 0]] * len(after)
    return ids, scored, known


def kept_of(order: np.ndarray, draw: random.Random) -> np.ndarray:
    """A quarter of a prompt's rows: every second row and column, the ends of those rows, and the last."""
    columns = int(np.flatnonzero(order == -2)[0])
    down, across = draw.randrange(2), draw.randrange(2)
    places = np.arange(len(order) - 1).reshape(-1, columns + 1)[down::2]
    inside = places[:, across:columns:2]
    return np.append(np.concatenate([inside, places[:, columns:]], 1).ravel(), len(order) - 1)


def batches(kept: list[Any], tokenizer: Tokenizer, draw: random.Random, thin: bool) -> Iterator[list[Any]]:
    """Scenes whose pictures take as many places together; `thin`: with a quarter of them, but for digits."""
    sizes: dict[Any, list[int]] = {}
    for number, (found, (_, order)) in enumerate(kept):
        sizes.setdefault((len(order), found.digit is None), []).append(number)
    groups, often = list(sizes.values()), [len(group) for group in sizes.values()]
    while True:
        group = draw.choices(groups, often)[0]
        some = draw.sample(group, min(BATCH if thin else BATCH // 2, len(group)))
        made = []
        for found, (pooled, order) in (kept[number] for number in some):
            words = named(tokenizer, found, order)
            rows = kept_of(order, draw) if thin and found.digit is None else np.arange(len(order))
            made.append((pooled, order[rows], *conversation(tokenizer, found, draw), words[rows]))
        yield made


def loss_of(model: Any, batch: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross-entropy of the answers' tokens; the picture comes behind the token that begins a turn.

    And of what each layer may know: at a shape's places, and where a question names one, its colour and its name are as
    likely as each other.
    """
    embed = model.model.embed_tokens_extend.image_embed
    rows = []
    for pooled, order, *_ in batch:
        ends = torch.cat([embed.global_img_feature_extensor[0], embed.sub_img_feature_extensor[0, 0]])
        table = torch.cat([torch.from_numpy(pooled).float(), ends.flip(0)])
        rows.append(table[torch.from_numpy(order)])
    seen = embed.img_projection_down(torch.nn.functional.gelu(embed.img_projection_up(torch.stack(rows))))
    longest = max(len(one[2]) for one in batch)
    ids = torch.tensor([[*one[2], *[0] * (longest - len(one[2]))] for one in batch])
    scored = torch.tensor([[*one[3], *[False] * (longest - len(one[3]))] for one in batch])
    known = torch.tensor([[*one[4], *[[0, 0]] * (longest - len(one[4]))] for one in batch])
    named = torch.from_numpy(np.stack([one[5] for one in batch]))
    words, count = model.model.embed_tokens(ids), seen.shape[1]
    made = model.model(inputs_embeds=torch.cat([words[:, :1], seen, words[:, 1:]], 1), output_hidden_states=True)
    *between, last = made.hidden_states[1:]
    layers = [*map(model.model.norm, between), last]
    shown = sum(
        _named(model, states[:, 1 : count + 1], named) + 2 * _named(model, states[:, count + 1 :], known[:, 1:])
        for states in layers
    )
    states = last[:, count:-1][scored[:, 1:]]
    return torch.nn.functional.cross_entropy(model.lm_head(states), ids[:, 1:][scored[:, 1:]]), shown / len(layers)


def _named(model: Any, states: torch.Tensor, named: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the two tokens that are known, where they are."""
    held = named[..., 0] > 0
    if not held.any():
        return states.sum() * 0
    said: torch.Tensor = model.lm_head(states[held]).log_softmax(-1).gather(1, named[held])
    return -said.mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a checkpoint that this script left: train it again")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so long, to go on later")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # matrices this small are quicker on one
    begun, state = time.time(), arguments.state
    state.mkdir(parents=True, exist_ok=True)
    layout.write_tokenizer(state)
    tokenizer = Tokenizer.from_file(str(state / "tokenizer.json"))
    plan = AGAIN if arguments.start else BEGIN
    model, draw = native(), random.Random(plan.seed)
    parts = [scene(draw, (320, 160)) for _ in range(plan.parts)]
    wholes = [scene(draw, of=plan.sizes) for _ in range(plan.wholes)]
    for name, scenes in (("parts", parts), ("wholes", wholes)):
        if not (state / f"{name}.pt").is_file():
            torch.save(features(model, scenes, name == "parts"), state / f"{name}.pt")
            print(f"features of {len(scenes)} pictures, {time.time() - begun:.0f} s", flush=True)  # noqa: T201
    kept = {
        name: list(zip(scenes, torch.load(state / f"{name}.pt", weights_only=False), strict=True))
        for name, scenes in (("parts", parts), ("wholes", wholes))
    }
    if arguments.start:
        weights = layout.merged(arguments.start)
        model.load_state_dict({n: weights.get(layout.old_name(n), v) for n, v in model.state_dict().items()})
        model.tie_weights()
    for parameter in model.model.embed_tokens_extend.image_embed.img_processor.parameters():
        parameter.requires_grad_(False)
    trained = [p for n, p in model.named_parameters() if p.requires_grad and "audio" not in n]
    optimizer = torch.optim.AdamW(trained, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01)
    step = 0
    if (state / "state.pt").is_file():
        held = torch.load(state / "state.pt", weights_only=False)
        model.load_state_dict(held["model"])
        optimizer.load_state_dict(held["optimizer"])
        step = held["step"]
    sources = {
        name: batches(some, tokenizer, random.Random(1000 * plan.seed + step), name == "parts")
        for name, some in kept.items()
    }
    losses: list[tuple[float, float]] = []
    model.train()
    while step < plan.steps and time.time() - begun < arguments.seconds:
        for group in optimizer.param_groups:
            group["lr"] = plan.rate_at(step)
        loss, shown = loss_of(model, next(sources["parts" if step < plan.first * plan.steps else "wholes"]))
        optimizer.zero_grad(set_to_none=True)
        (loss + shown / 4).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append((float(loss.detach()), float(shown.detach())))
        step += 1
        if step % 50 == 0:
            loss_50, shown_50 = np.mean(losses[-50:], axis=0)
            said = f"step {step} loss {loss_50:.4f} shown {shown_50:.3f} {time.time() - begun:.0f} s"
            print(said, flush=True)  # noqa: T201
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, state / "state.pt")
    layout.write(arguments.out, model.state_dict())


if __name__ == "__main__":
    main()
