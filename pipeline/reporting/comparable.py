"""Figures on the tokens and questions that all cells of a model have: only these are compared.

A slow backend is evaluated on fewer windows. Every evaluation keeps its sums per window, so that the others'
figures on the same windows are added up here; nothing is computed again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.types import JSON

Evaluation = Mapping[str, Any]

METRICS = (
    "perplexity_common",
    "kl_nats_mean_common",
    "top1_agreement_common",
    "kl_nats_mean_default_mode_common",
    "task_accuracy_common",
    "common_tokens",
)


def common_figures(evaluations: Sequence[Evaluation]) -> list[dict[str, float | int | None]]:
    """METRICS of each evaluation of one model, on the first windows and questions that all of them have."""
    windows = min((len(_sums(e, "windows")["tokens"]) for e in evaluations), default=0)
    questions = min((len(e.get("answered_right") or ()) for e in evaluations), default=0)
    return [_figures(evaluation, windows, questions) for evaluation in evaluations]


def _figures(evaluation: Evaluation, windows: int, questions: int) -> dict[str, float | int | None]:
    if not windows:
        return dict.fromkeys(METRICS)
    sums, users = _sums(evaluation, "windows"), _sums(evaluation, "windows_default_mode")
    tokens = sum(sums["tokens"][:windows])
    right = evaluation.get("answered_right") or ()
    return {
        "perplexity_common": math.exp(sum(sums["nll"][:windows]) / tokens),
        "kl_nats_mean_common": max(0.0, sum(sums["kl"][:windows]) / tokens),
        "top1_agreement_common": sum(sums["top1"][:windows]) / tokens,
        "kl_nats_mean_default_mode_common": max(0.0, sum(users["kl"][:windows]) / tokens) if users["kl"] else None,
        "task_accuracy_common": sum(right[:questions]) / questions if questions else None,
        "common_tokens": tokens,
    }


def _sums(evaluation: Evaluation, name: str) -> JSON:
    found: JSON = evaluation.get(name) or {"tokens": [], "nll": [], "kl": [], "top1": []}
    return found


def note(records: Sequence[JSON]) -> str:
    """What a reader must know where cells were evaluated on different numbers of tokens; otherwise nothing."""
    counts = {(r["metrics"]["common_tokens"], r["metrics"]["evaluated_tokens"]) for r in records}
    fewer = sorted({common for common, own in counts if common is not None and own is not None and common < own})
    if not fewer:
        return ""
    tokens = " or ".join(f"{count:,}" for count in fewer)
    return f"Quality is compared on the {tokens} tokens that all cells of a model have; cells.json has each cell's own."
