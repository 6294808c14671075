"""An evaluation's figures on its first windows and questions: those that all cells of a target have.

A slow backend is evaluated on fewer windows. Every evaluation keeps its sums per window, so that the others' figures on
the same ones are added up; nothing is computed again.
"""

from __future__ import annotations

import math

from pipeline.records import Evaluation, Quality, ReferenceFigures, Windows


def quality_on(evaluation: Evaluation, windows: int, questions: int) -> Quality:
    """The quality on the first `windows` and `questions`; 0 is all. Figures that are not finite are None."""
    sums, users = evaluation.windows, evaluation.windows_default_mode
    right = evaluation.answered_right[: questions or None]
    tokens = sum(sums.tokens[: windows or None])
    return Quality(
        perplexity=_perplexity(sums.nll, sums, windows),
        kl_nats_mean=_divergence(sums, windows),
        top1_agreement=_share(sums, windows),
        evaluated_tokens=tokens or None,
        perplexity_default_mode=_perplexity(users.nll, users, windows) if users else None,
        kl_nats_mean_default_mode=_divergence(users, windows) if users else None,
        top1_agreement_default_mode=_share(users, windows) if users else None,
        task_accuracy=sum(right) / len(right) if right else None,
    )


def reference_on(evaluation: Evaluation, windows: int, questions: int) -> ReferenceFigures:
    """The reference's figures on the same."""
    reference, right = evaluation.reference, evaluation.reference.answered_right[: questions or None]
    return ReferenceFigures(
        perplexity=_perplexity(reference.nll, evaluation.windows, windows) or reference.perplexity,
        task_accuracy=sum(right) / len(right) if right else None,
        nll=reference.nll[: windows or None],
        answered_right=right,
    )


def _perplexity(nll: tuple[float, ...], sums: Windows, windows: int) -> float | None:
    """exp of the mean NLL: of sums per window, over the windows' tokens."""
    tokens = sum(sums.tokens[: windows or None])
    mean = sum(nll[: windows or None]) / tokens if tokens else math.inf
    return _finite(math.exp(mean)) if mean < 700 else None


def _divergence(sums: Windows, windows: int) -> float | None:
    tokens = sum(sums.tokens[: windows or None])
    # KL is never negative; what is left of rounding below zero is zero
    return _finite(max(0.0, sum(sums.kl[: windows or None]) / tokens)) if tokens else None


def _share(sums: Windows, windows: int) -> float | None:
    tokens = sum(sums.tokens[: windows or None])
    return _finite(sum(sums.top1[: windows or None]) / tokens) if tokens else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
