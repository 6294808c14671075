"""The report as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from pipeline.records import Row
from pipeline.reporting.cells import METRICS
from pipeline.reporting.chapters import chapters
from pipeline.reporting.choice import recommend, targets_of
from pipeline.reporting.comparable import note
from pipeline.reporting.figures import AXES, COLUMNS, NOISY, axis, one_line, status, tally, troubles
from pipeline.types import Status

SECTIONS = {"failed": "Failed", "skipped": "Skipped", "not run": "Not run here", "gate": "Gates missed"}
MEANING = """\
KL is the mean divergence of a cell's next-token distribution from transformers in fp32, in nats per token:
0 is identical. Perplexity (ppl), top-1 (how often both put the same token first) and accuracy (acc) use the
same tokens and questions for every cell.

Speed is measured from the package, in a fresh process on the target: tok/s while decoding, and the median
time to the first token (TTFT). Bits/w is the storage of all weights, scales included, per parameter.
"""


def summary(rows: Sequence[Row], excluded: Mapping[str, str]) -> str:
    """The page: table, meaning, what failed, what was skipped or not measured, what the plan left out."""
    parts = [f"# Report\n\n{tally(rows)}.\n", *_tables(rows)]
    if note(rows):
        parts.append(f"{note(rows)}\n")
    if any(row.noisy for row in rows):
        parts.append(f"{NOISY} Other programs kept the machine busy; measure again before comparing speed.\n")
    parts.append(MEANING)
    for wanted, title in SECTIONS.items():
        same = {", ".join(trouble.cells): trouble.reason for trouble in troubles(rows) if trouble.kind == wanted}
        parts.append(_section(title, same))
    parts.append(chapters(rows))
    parts.append(_not_measured(rows))
    parts.append(_section("Excluded by the plan", excluded))
    return "\n".join(part for part in parts if part)


def _tables(rows: Sequence[Row]) -> list[str]:
    """One table per target, each with what to ship there."""
    targets = targets_of(rows)
    parts = []
    for target in targets:
        same = [row for row in rows if row.target == target]
        heading = f"## {target}\n\n" if len(targets) > 1 else ""
        parts.append(heading + _table(same) + _choice(same, target))
    return parts


def _table(rows: Sequence[Row]) -> str:
    header = [*AXES.values(), *(column.header for column in COLUMNS), "status"]
    lines = [[*(axis(row, name) for name in AXES), *(c.text(row) for c in COLUMNS), _status(row)] for row in rows]
    widths = [max(len(line[i]) for line in (header, *lines)) for i in range(len(header))]
    numbers = range(len(AXES), len(header) - 1)

    def write(line: list[str]) -> str:
        cells = (
            text.rjust(w) if i in numbers else text.ljust(w)
            for i, (text, w) in enumerate(zip(line, widths, strict=True))
        )
        return f"| {' | '.join(cells)} |\n"

    rule = "|".join("-" * (w + 1) + ":" if i in numbers else "-" * (w + 2) for i, w in enumerate(widths))
    return write(header) + f"|{rule}|\n" + "".join(write(line) for line in lines)


def _status(row: Row) -> str:
    shown = status(row)
    return shown if shown == "ok" else f"**{shown}**"


def _choice(rows: Sequence[Row], target: str) -> str:
    """What to ship to the target, where it has gates."""
    if not any(row.gates for row in rows):
        return ""
    choice = recommend(rows, target)
    if choice.choice:
        front = ", ".join(f"`{cell}`" for cell in choice.front)
        return f"\nShip `{choice.choice}`: it passes every gate (rests on {choice.rests_on}). The front: {front}.\n"
    if choice.closest:
        return f"\nNothing passes its gates; closest is `{choice.closest.id}`: {', '.join(choice.closest.misses)}.\n"
    return ""


def _section(title: str, reasons: Mapping[str, str]) -> str:
    """A list of reasons; the names before them are cells, with commas between."""
    names = {cells: cells.replace(", ", "`, `") for cells in reasons}
    lines = "".join(f"- `{names[cells]}`: {one_line(reason)}\n" for cells, reason in reasons.items())
    return f"## {title}\n\n{lines}" if lines else ""


def _not_measured(rows: Sequence[Row]) -> str:
    """Cells that are ok and lack figures; cells that lack the same for the same reason share a line."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.status is not Status.OK:
            continue
        pairs = sorted((one_line(why), METRICS.index(name), name) for name, why in row.reasons.items())
        for reason, group in groupby(pairs, key=lambda pair: pair[0]):
            names = ", ".join(name for _, _, name in group)
            lacking.setdefault((names, reason), []).append(f"`{row.id}`")
    lines = "".join(f"- {', '.join(cells)}: no {names}: {reason}\n" for (names, reason), cells in lacking.items())
    return f"## Not measured\n\n{lines}" if lines else ""
