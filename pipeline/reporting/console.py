"""The report on a terminal: 120 columns of plain text."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.reporting.figures import AXES, COLUMNS, NOISY, one_line, tally
from pipeline.types import JSON

WIDTH = 120
GAP = "  "
LEAST = 6  # what an axis column keeps of its names


def table(records: Sequence[JSON]) -> str:
    """Rows, aligned; an axis with one value is named once above them; reasons stand below."""
    rows = list(records)
    if not rows:
        return "no cells\n"
    shown, common = _split_axes(rows)
    header = [*shown, *(column.header for column in COLUMNS), "status"]
    cells = [[*(row[axis] for axis in shown), *(c.text(row) for c in COLUMNS), row["status"]] for row in rows]
    widths = _fit([max(len(line[i]) for line in (header, *cells)) for i in range(len(header))], len(shown))
    lines = _wrapped(" · ".join([tally(rows), *common]), "")
    lines += ["", *(_line(line, widths, len(shown)) for line in (header, *cells))]
    troubles = [row for row in rows if row["status"] != "ok"]
    if troubles:
        lines.append("")
    for row in troubles:
        lines += _wrapped(f"{row['status']} {row['id']}: {one_line(row['reason'])}", GAP)
    if any(row["noisy"] for row in rows):
        lines += ["", f"{NOISY} other programs kept the machine busy: measure again before comparing speed"]
    return "\n".join(lines) + "\n"


def _split_axes(rows: list[JSON]) -> tuple[list[str], list[str]]:
    """Axes that need a column, and `axis value` of the others. Precision always has its column."""
    shown = [axis for axis in AXES if axis == "precision" or len({row[axis] for row in rows}) > 1]
    return shown, [f"{axis} {rows[0][axis]}" for axis in AXES if axis not in shown]


def _fit(widths: list[int], axes: int) -> list[int]:
    """Take from the widest axis columns until a line fits."""
    widths = list(widths)
    while sum(widths) + len(GAP) * (len(widths) - 1) > WIDTH:
        widest = max(range(axes), key=widths.__getitem__)
        if widths[widest] <= LEAST:
            break
        widths[widest] -= 1
    return widths


def _line(cells: list[str], widths: list[int], axes: int) -> str:
    parts = []
    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = cell if len(cell) <= width else cell[: width - 1] + "…"
        parts.append(text.ljust(width) if i < axes or i == len(cells) - 1 else text.rjust(width))
    return GAP.join(parts).rstrip()


def _wrapped(text: str, indent: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
