"""What is not there, and why: cells that failed or were skipped, gates missed, figures that were not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from pipeline.reporting.cells import METRICS
from pipeline.reporting.figures import one_line, troubles
from pipeline.rows import Row
from pipeline.types import Status

SECTIONS = {"failed": "Failed", "gate": "Gates missed", "skipped": "Skipped", "not run": "Not run here"}


def missing(rows: Sequence[Row], excluded: Mapping[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Title → (cells, reason); what shares a reason shares a line. Titles without lines are left out."""
    found = {title: _troubles(rows, kind) for kind, title in SECTIONS.items()}
    found["Not measured"] = _not_measured(rows)
    found["Excluded by the plan"] = _grouped({cell: one_line(reason) for cell, reason in excluded.items()})
    return {title: lines for title, lines in found.items() if lines}


def _troubles(rows: Sequence[Row], kind: str) -> list[tuple[str, str]]:
    return [(", ".join(trouble.cells), trouble.reason) for trouble in troubles(rows) if trouble.kind == kind]


def _not_measured(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Cells that are ok and lack figures."""
    lacking: dict[str, list[str]] = {}
    for row in (row for row in rows if row.status is Status.OK):
        pairs = sorted((one_line(why), METRICS.index(name), name) for name, why in row.reasons.items())
        for reason, group in groupby(pairs, key=lambda pair: pair[0]):
            names = ", ".join(name for _, _, name in group)
            lacking.setdefault(f"no {names}: {reason}", []).append(row.id)
    return [(", ".join(cells), reason) for reason, cells in lacking.items()]


def _grouped(reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for cell, reason in reasons.items():
        found.setdefault(reason, []).append(cell)
    return [(", ".join(cells), reason) for reason, cells in found.items()]
