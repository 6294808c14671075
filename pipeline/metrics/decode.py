"""The decode check: greedy generation must continue as the artifact's own logits say.

A model can score well in one pass and generate garbage, when its cache is wrong. The runtime's greedy tokens
are fed back, teacher-forced, through the artifact: each must be the logits' maximum, or as good as it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import QualityError
from pipeline.records import Decode

CLOSE = 0.25  # a token this near to the largest logit is a tie between two passes' rounding
LEAST_AGREEMENT = 0.9


def check_decode(
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    logits: Callable[[NDArray[np.int64]], NDArray[np.float32]],
) -> Decode:
    """How many tokens agree, and the first prompt with its continuation. Raises QualityError below 90 % agreement."""
    gaps: list[float] = []
    for prompt, continuation in zip(prompts, continuations, strict=True):
        ids = np.asarray([*prompt, *continuation], dtype=np.int64)
        rows = logits(ids[None, :])[0, len(prompt) - 1 : -1].astype(np.float64)
        gaps += list(rows.max(axis=-1) - rows[np.arange(len(continuation)), list(continuation)])
    agreement = float(np.mean([gap <= CLOSE for gap in gaps]))
    if agreement < LEAST_AGREEMENT:
        raise QualityError(
            f"greedy generation departs from the model's own logits: {agreement:.0%} of {len(gaps)} tokens agree",
            hint="the build scores in one pass but does not generate; take another recipe",
        )
    return Decode(len(gaps), agreement, round(float(max(gaps)), 4), tuple(prompts[0]), tuple(continuations[0]))
