"""The report as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from pipeline.reporting.chapters import chapters
from pipeline.reporting.choice import recommend
from pipeline.reporting.comparable import note
from pipeline.reporting.figures import AXES, COLUMNS, NOISY, one_line, status, tally, troubles
from pipeline.types import JSON

SECTIONS = {"failed": "Failed", "skipped": "Skipped", "gate": "Gates missed"}
MEANING = """\
KL is the mean divergence of a cell's next-token distribution from transformers in fp32, in nats per token:
0 is identical. Perplexity (ppl), top-1 (how often both put the same token first) and accuracy (acc) use the
same tokens and questions for every cell.

Speed is measured from the package, in a fresh process on the target: tok/s while decoding, and the median
time to the first token (TTFT). Bits/w is the storage of all weights, scales included, per parameter.
"""


def summary(records: Sequence[JSON], excluded: Mapping[str, Any]) -> str:
    """The page: table, meaning, what failed, what was skipped or not measured, what the plan left out."""
    rows = list(records)
    parts = [f"# Report\n\n{tally(rows)}.\n", *_tables(rows)]
    if note(rows):
        parts.append(f"{note(rows)}\n")
    if any(row["noisy"] for row in rows):
        parts.append(f"{NOISY} Other programs kept the machine busy; measure again before comparing speed.\n")
    parts.append(MEANING)
    for wanted, title in SECTIONS.items():
        same = {", ".join(cells): reason for kind, reason, cells in troubles(rows) if kind == wanted}
        parts.append(_section(title, same))
    parts.append(chapters(rows))
    parts.append(_not_measured(rows))
    parts.append(_section("Excluded by the plan", excluded))
    return "\n".join(part for part in parts if part)


def _tables(rows: list[JSON]) -> list[str]:
    """One table per target, each with what to ship there."""
    targets = list(dict.fromkeys(row["target"] for row in rows))
    parts = []
    for target in targets:
        same = [row for row in rows if row["target"] == target]
        heading = f"## {target}\n\n" if len(targets) > 1 else ""
        parts.append(heading + _table(same) + _choice(same, target))
    return parts


def _table(rows: list[JSON]) -> str:
    header = [*AXES.values(), *(column.header for column in COLUMNS), "status"]
    lines = [[*(row[axis] for axis in AXES), *(c.text(row) for c in COLUMNS), _status(row)] for row in rows]
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


def _status(row: JSON) -> str:
    shown = status(row)
    return shown if shown == "ok" else f"**{shown}**"


def _choice(rows: list[JSON], target: str) -> str:
    """What to ship to the target, where it has gates."""
    if not any(row["gates"] for row in rows):
        return ""
    choice = recommend(rows, target)
    if choice["choice"]:
        front = ", ".join(f"`{cell}`" for cell in choice["front"])
        return (
            f"\nShip `{choice['choice']}`: it passes every gate (rests on {choice['rests_on']}). The front: {front}.\n"
        )
    if choice["closest"]:
        misses = ", ".join(choice["closest"]["misses"])
        return f"\nNothing passes its gates; closest is `{choice['closest']['id']}`: {misses}.\n"
    return ""


def _section(title: str, reasons: Mapping[str, Any]) -> str:
    """A list of reasons; the names before them are cells, with commas between."""
    names = {cells: cells.replace(", ", "`, `") for cells in reasons}
    lines = "".join(f"- `{names[cells]}`: {one_line(reason)}\n" for cells, reason in reasons.items())
    return f"## {title}\n\n{lines}" if lines else ""


def _not_measured(rows: list[JSON]) -> str:
    """Cells that are ok and lack figures; cells that lack the same for the same reason share a line."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["status"] != "ok":
            continue
        pairs = sorted((one_line(why), i, name) for i, (name, why) in enumerate(row["reasons"].items()))
        for reason, group in groupby(pairs, key=lambda pair: pair[0]):
            names = ", ".join(name for _, _, name in group)
            lacking.setdefault((names, reason), []).append(f"`{row['id']}`")
    lines = "".join(f"- {', '.join(cells)}: no {names}: {reason}\n" for (names, reason), cells in lacking.items())
    return f"## Not measured\n\n{lines}" if lines else ""
