"""Train the model: ``python -m training.train --out models/phi-tiny``.

The schedule counts steps, not time: the same steps, seed and number of threads give the same weights.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from training import checkpoint, outliers
from training import tokenizer as tokenizing
from training.stream import stream

LOG = logging.getLogger("training")


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn."""

    steps: int = 4_500
    tokens: int = 1_024
    rate: float = 2e-3
    warm_up: int = 100
    decay: float = 0.01
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """A short linear rise, then a cosine down to a fiftieth."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def _optimizer(model: torch.nn.Module, plan: Plan) -> torch.optim.AdamW:
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": plan.decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.95), fused=True)


def train(plan: Plan, out: Path, checkpoints: Path, every: int) -> None:
    """Train from scratch; unfinished weights go to ``checkpoints`` now and then, the result to ``out``."""
    text = stream(out / "tokenizer.json", plan.steps * plan.tokens)
    model = checkpoint.fresh(plan.seed).train()
    optimizer = _optimizer(model, plan)
    parameters = sum(weight.numel() for weight in model.parameters())
    LOG.info("%d parameters, %d tokens", parameters, plan.steps * plan.tokens)
    begun = time.monotonic()
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate_at(step)
        ids = torch.from_numpy(text.batch(step, plan.tokens))
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 25 == 0:
            speed = (step + 1) * plan.tokens / (time.monotonic() - begun)
            LOG.info("step %d loss %.4f, %.0f tokens a second", step, loss.item(), speed)
        if (step + 1) % every == 0:
            checkpoint.write(model, checkpoints)
    outliers.add(model, plan.seed)
    checkpoint.write(model, out)
    LOG.info("%.0f seconds", time.monotonic() - begun)


def main() -> None:
    """Make the tokenizer, then the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("models/phi-tiny"))
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--checkpoints", type=Path, required=True, help="a folder for unfinished weights")
    parser.add_argument("--every", type=int, default=250, help="steps from one checkpoint to the next")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tokenizing.write(arguments.out)
    train(Plan(arguments.steps, seed=arguments.seed), arguments.out, arguments.checkpoints, arguments.every)


if __name__ == "__main__":
    main()
