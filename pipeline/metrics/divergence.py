"""Perplexity, KL divergence and top-1 agreement, position by position.

Positions 2…n of a window of n tokens are scored. With p the reference's and q the build's next-token
distribution: NLL = -ln q(token); KL = Σ p (ln p - ln q), in nats per token.
Perplexity = exp(mean NLL), as in Jelinek et al. 1977; KL as in Kullback & Leibler 1951.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import QualityError

BLOCK = 2**23  # of the reference's logits that are rebuilt at a time: 34 MB in float32; a product of few rows is slow
PART = 2**16  # logits of them that are scored at a time: what a core's cache holds is quicker
TAIL = 0.01  # of the probability, at most: what tokens have that are scored in float32
SMALL, LARGE = 0.01, 60.0  # differences of logits: two terms of a series do, and float32 overflows


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
    wide = logits.astype(np.float64)
    if not np.isfinite(wide.sum()):  # of float32 values: it does not overflow, and keeps what is not finite
        raise QualityError("the model's logits are not finite")
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide


def negative_log_likelihood(logits: NDArray[np.float32], tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """-ln softmax(logits) [n, vocab] at `tokens` [n]. Exponentials are of float32, summed in float64: within 2e-7.

    Raises QualityError for NaN or infinite logits.
    """
    part = max(1, PART // logits.shape[1])
    found = np.empty(len(tokens))
    for first in range(0, len(tokens), part):
        rows, wanted = logits[first : first + part], tokens[first : first + part]
        largest = rows.max(axis=-1)
        if not np.isfinite([largest.sum(), rows.min()]).all():  # NaN is the extreme of both
            raise QualityError("the model's logits are not finite")
        total = np.exp(rows - largest[:, None]).sum(axis=-1, dtype=np.float64)
        likely = rows[np.arange(len(rows)), wanted].astype(np.float64)
        found[first : first + part] = np.log(total) + largest - likely
    return found


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
    block, part = max(1, BLOCK // vocab), max(1, PART // vocab)
    parts = []
    for first in range(0, scored, block):
        last = min(first + block, scored)
        rebuilt = hidden[first:last] @ lm_head.T
        if bias is not None:
            rebuilt += bias
        for start in range(first, last, part):
            stop = min(start + part, last)
            parts.append(
                score(ids[start + 1 : stop + 1], logits[start:stop, :vocab], rebuilt[start - first : stop - first])
            )
    nll, kl, top1 = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Scores(nll, kl, top1)


Parts = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]


def score(targets: NDArray[np.int64], logits: NDArray[np.float32], reference: NDArray[np.float32]) -> Parts:
    """NLL, KL and agreement of some positions: their next tokens [n], and both logits [n, vocab]; overwrites reference.

    With d = ln p - ln q but for a constant, c its mean under p or near it, and g(x) = e^-x - 1 + x:

        KL = e + ln(1 + G - e),  G = Σ p g(d - c),  e = Σ p (d - c)

    for any c. Exponentials are of float32, normalized in float64. An error of e counts G times, so what matters is g,
    whose rounding in float32 is at most 6e-8: tokens likelier than TAIL / vocab get it in float64, the others have TAIL
    of the probability at most. So KL is within 6e-8 TAIL + 5e-6 KL, and NLL within 1e-6, of what float64 gives.
    """
    rows = np.arange(len(targets))
    top1 = logits.argmax(axis=-1) == reference.argmax(axis=-1)
    apart = reference - logits
    spread = float(apart.max()) - float(apart.min())
    if not np.isfinite(spread):
        raise QualityError("the model's logits are not finite")
    if spread > LARGE:
        ours, theirs = log_softmax(logits), log_softmax(reference)
        return -ours[rows, targets], (np.exp(theirs) * (theirs - ours)).sum(axis=-1), top1
    largest = reference.max(axis=-1, keepdims=True)
    shares = np.exp(np.subtract(reference, largest, out=reference), out=reference)
    total = shares.sum(axis=-1, dtype=np.float64)
    centre = (np.vecdot(shares, apart) / total).astype(np.float32)
    apart -= centre[:, None]
    off = np.vecdot(shares, apart) / total
    head = np.flatnonzero(shares > TAIL / shares.shape[1])  # the largest share of a row is 1
    grown = np.log1p(np.vecdot(shares, _beyond(apart, head, spread)) / total - off)
    mass = largest[:, 0].astype(np.float64) + np.log(total)
    return mass - centre + grown - logits[rows, targets], off + grown, top1


def _beyond(apart: NDArray[np.float32], head: NDArray[np.intp], spread: float) -> NDArray[np.float32]:
    """e^-x - 1 + x of `apart`, all within ±`spread`: in float64 where `head` has them, a series where all are small."""
    if spread < SMALL:
        made = apart * np.float32(-1 / 6)
        made += np.float32(0.5)
        made *= apart
        made *= apart
    else:
        made = np.exp(-apart)
        made += apart
        made -= 1
    exact = apart.ravel()[head].astype(np.float64)
    made.ravel()[head] = np.expm1(-exact) + exact
    return made


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
