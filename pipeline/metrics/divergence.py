"""Perplexity, KL divergence and top-1 agreement, position by position.

Positions 2…n of a window of n tokens are scored. With p the reference's and q the build's next-token
distribution (softmax in float64): NLL = -ln q(token); KL = Σ p (ln p - ln q), in nats per token.
Perplexity = exp(mean NLL), as in Jelinek et al. 1977; KL as in Kullback & Leibler 1951.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import QualityError

ROWS = 64  # positions whose reference logits are rebuilt at a time: 51 MB in float32 for a 200,000-token vocabulary
PART = 16  # of them in float64 at a time: what a core's cache holds is quicker


@dataclass(frozen=True, eq=False)
class Scores:
    """The scored positions of one window, each array [n]: NLL and KL in nats, and whether both put the same first."""

    nll: NDArray[np.float64]
    kl: NDArray[np.float64]
    top1: NDArray[np.bool_]


@dataclass(frozen=True)
class Totals:
    """Perplexity, mean KL in nats, share of agreements, and how many tokens they are of."""

    perplexity: float
    kl_nats_mean: float
    top1_agreement: float
    evaluated_tokens: int


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """ln softmax over the last axis, in float64. Raises QualityError for NaN or infinite logits."""
    return _softmax(logits)[0]


def _softmax(logits: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(ln softmax, softmax): one exponential for both."""
    wide = logits.astype(np.float64)
    if not np.isfinite(wide.sum()):  # of float32 values: it does not overflow, and keeps what is not finite
        raise QualityError("the model's logits are not finite")
    wide -= wide.max(axis=-1, keepdims=True)
    shares = np.exp(wide)
    total = shares.sum(axis=-1, keepdims=True)
    wide -= np.log(total)
    shares /= total
    return wide, shares


def score_window(
    ids: NDArray[np.int64],
    logits: NDArray[np.float32],
    hidden: NDArray[np.float32],
    lm_head: NDArray[np.float32],
    bias: NDArray[np.float32] | None = None,
) -> Scores:
    """Scores of one window: ids [n], the build's logits [n, vocab], the reference's hidden states [n, width].

    The reference's logits are rebuilt as hidden · lm_headᵀ + bias (lm_head [vocab, width], bias [vocab]), a block of
    rows at a time.
    """
    vocab = lm_head.shape[0]
    if logits.shape[0] != ids.shape[0] or logits.shape[1] < vocab:
        raise QualityError(f"logits of shape {logits.shape} for {ids.shape[0]} tokens and a vocabulary of {vocab}")
    scored = ids.shape[0] - 1
    parts = []
    for first in range(0, scored, ROWS):
        last = min(first + ROWS, scored)
        rebuilt = hidden[first:last] @ lm_head.T
        if bias is not None:
            rebuilt += bias
        for start in range(first, last, PART):
            stop = min(start + PART, last)
            parts.append(
                _score(ids[start + 1 : stop + 1], logits[start:stop, :vocab], rebuilt[start - first : stop - first])
            )
    nll, kl, top1 = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Scores(nll, kl, top1)


def _score(
    targets: NDArray[np.int64], logits: NDArray[np.float32], reference: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """NLL, KL and agreement of some positions: their next tokens [n], and both logits [n, vocab]."""
    top1 = logits.argmax(axis=-1) == reference.argmax(axis=-1)
    ours, (theirs, shares) = log_softmax(logits), _softmax(reference)
    nll = -ours[np.arange(len(targets)), targets]
    theirs -= ours
    theirs *= shares
    return nll, theirs.sum(axis=-1), top1


def totals(scores: Iterable[Scores]) -> Totals:
    """The figures of all windows together."""
    windows = list(scores)
    tokens = sum(len(window.kl) for window in windows)
    return Totals(
        perplexity=float(np.exp(sum(float(window.nll.sum()) for window in windows) / tokens)),
        # KL is never negative; what is left of rounding below zero is zero
        kl_nats_mean=max(0.0, sum(float(window.kl.sum()) for window in windows) / tokens),
        top1_agreement=sum(int(window.top1.sum()) for window in windows) / tokens,
        evaluated_tokens=tokens,
    )
