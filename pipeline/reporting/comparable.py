"""Figures on the tokens and questions that all cells of a model have: only these are compared.

A slow backend is evaluated on fewer windows. Every evaluation keeps its sums per window, so that the others'
figures on the same windows are added up here; nothing is computed again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.records import Common, Evaluation, Row, Windows


def common_figures(evaluations: Sequence[Evaluation]) -> list[Common]:
    """Of each evaluation of one model; figures that are not finite are None."""
    windows = min((len(evaluation.windows.tokens) for evaluation in evaluations), default=0)
    questions = min((len(evaluation.answered_right) for evaluation in evaluations), default=0)
    return [_figures(evaluation, windows, questions) for evaluation in evaluations]


def _figures(evaluation: Evaluation, windows: int, questions: int) -> Common:
    sums, users = evaluation.windows, evaluation.windows_default_mode
    tokens = sum(sums.tokens[:windows])
    if not tokens:
        return Common(None, None, None, None, None, None)
    right = evaluation.answered_right[:questions]
    return Common(
        perplexity_common=_finite(math.exp(sum(sums.nll[:windows]) / tokens)),
        kl_nats_mean_common=_divergence(sums, windows),
        top1_agreement_common=_finite(sum(sums.top1[:windows]) / tokens),
        kl_nats_mean_default_mode_common=_divergence(users, windows) if users else None,
        task_accuracy_common=sum(right) / questions if questions else None,
        common_tokens=tokens,
    )


def _divergence(sums: Windows, windows: int) -> float | None:
    return _finite(max(0.0, sum(sums.kl[:windows]) / sum(sums.tokens[:windows])))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def note(rows: Sequence[Row]) -> str:
    """What a reader must know where cells were evaluated on different numbers of tokens; otherwise nothing."""
    counts = {(row.metrics.common_tokens, row.metrics.evaluated_tokens) for row in rows}
    fewer = sorted({common for common, own in counts if common is not None and own is not None and common < own})
    if not fewer:
        return ""
    tokens = " or ".join(f"{count:,}" for count in fewer)
    return f"Quality is compared on the {tokens} tokens that all cells of a model have; cells.json has each cell's own."
