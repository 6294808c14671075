"""Figures on the tokens and questions that all cells of a target have: only these are compared and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from pipeline.entries import Package
from pipeline.metrics.shared import quality_on
from pipeline.records import Evaluation
from pipeline.rows import Common, Row

ONE_SHARED = "the target's cells share one window, which has no spread to tell an error from"


def common_figures(evaluation: Evaluation, package: Package) -> Common:
    """An evaluation's on the windows, questions and tasks that its target's cells share."""
    shared = quality_on(evaluation, package.windows, package.questions, package.tasks)
    return Common(
        **{name: getattr(shared, its(name)) for field in fields(Common) if (name := field.name)},
    )


def its(name: str) -> str:
    """What a comparable figure is called on all the windows that a cell has."""
    return "evaluated_tokens" if name == "common_tokens" else name.removesuffix("_common")


def why_missing(name: str, reasons: Mapping[str, str], package: Package) -> str:
    """Why a comparable figure is not there: as its own, or since the target's cells share a single window."""
    if name.endswith("_se_common") and package.windows == 1:
        return ONE_SHARED
    return reasons.get(its(name)) or "sums per window are missing: evaluate again"


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
