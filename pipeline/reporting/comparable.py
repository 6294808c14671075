"""Figures on the tokens and questions that all cells of a target have: only these are compared and judged."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.entries import Package
from pipeline.metrics.shared import quality_on
from pipeline.records import Common, Evaluation, Row


def common_figures(evaluation: Evaluation, package: Package) -> Common:
    """An evaluation's on the windows and questions that its target's cells share."""
    shared = quality_on(evaluation, package.windows, package.questions)
    return Common(
        perplexity_common=shared.perplexity,
        kl_nats_mean_common=shared.kl_nats_mean,
        top1_agreement_common=shared.top1_agreement,
        kl_nats_mean_default_mode_common=shared.kl_nats_mean_default_mode,
        task_accuracy_common=shared.task_accuracy,
        common_tokens=shared.evaluated_tokens,
    )


def note(rows: Sequence[Row]) -> str:
    """What a reader must know where cells were evaluated on more tokens than are compared; otherwise nothing."""
    fewer: dict[int, list[str]] = {}
    for row in rows:
        common, own = row.metrics.common_tokens, row.metrics.evaluated_tokens
        if common is not None and own is not None and common < own:
            fewer.setdefault(common, []).append(row.target)
    if not fewer:
        return ""
    said = "; ".join(f"{count:,} for {', '.join(dict.fromkeys(targets))}" for count, targets in sorted(fewer.items()))
    return f"Quality is of the tokens that all cells of a target have ({said}); cells.json has each cell's own."
