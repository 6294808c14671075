"""The report on a terminal, as wide as that is; 120 columns elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import layout
from pipeline.reporting.choice import targets_of
from pipeline.reporting.comparable import note
from pipeline.reporting.figures import AXES, COLUMNS, NOISY, Column, axis, status, tally, troubles
from pipeline.reporting.verdict import verdict
from pipeline.rows import Row
from pipeline.terminal import GAP, WIDEST, paint, width, wrapped

SAID_BY = "PHI_DEPLOY_VERDICT_BY"  # set where a caller says the verdict at its own end
LEAST = 6  # what an axis column keeps of its names
DISPENSABLE = (
    "rms_delta_p_common",
    "kl_nats_p999_common",
    "bits_per_weight",
    "tasks_passed_common",
    "task_accuracy_common",
    "kl_nats_mean_default_mode_common",
    "kl_nats_mean_se_common",
    "ttft_ms_p50",
    "perplexity_common",
    "top1_agreement_common",
)  # left out, in this order, when a line is too long
COLOURS = {"ok": "green", "gate": "yellow", "failed": "red", "skipped": "dim", "not run": "dim"}


def table(rows: Sequence[Row]) -> str:
    """Rows, aligned; an axis with one value is named once above them; reasons stand below."""
    axes = [name for name in AXES if name == "shown" or len({axis(row, name) for row in rows}) > 1]
    common = [f"{name} {axis(rows[0], name)}" for name in AXES if rows and name not in axes]
    columns = list(COLUMNS)
    lines = _cells(rows, axes, columns)
    for metric in DISPENSABLE:
        if _length(_widths(lines)) > width():
            columns = [column for column in columns if column.metric != metric]
            lines = _cells(rows, axes, columns)
    widths = _fit(_widths(lines), len(axes))
    text = [*wrapped(" · ".join([tally(rows), *common])), "", *(_line(line, widths, len(axes)) for line in lines)]
    for trouble in troubles(rows):
        text += ["", *wrapped(f"{trouble.kind}: {', '.join(trouble.cells)}"), *wrapped(trouble.reason, GAP)]
    left_out = [column.header for column in COLUMNS if column not in columns]
    if left_out and width() < WIDEST:
        text += ["", *wrapped(f"For want of width without {', '.join(left_out)}.")]
    if note(rows):
        text += ["", *wrapped(note(rows))]
    if any(row.noisy for row in rows):
        text += ["", f"{NOISY} other programs kept the machine busy: measure again before comparing speed"]
    return "\n".join(text)


def verdicts(rows: Sequence[Row]) -> str:
    """What to ship to each target, what that costs, and where the page is."""
    lines: list[str] = []
    for target in targets_of(rows):
        said = verdict(rows, target)
        lines += wrapped(f"{target}: {said.lead} {said.costs}".rstrip())
    return "\n".join([*lines, f"Report: {layout.PAGE.as_posix()}"]) + "\n"


def _cells(rows: Sequence[Row], axes: list[str], columns: list[Column]) -> list[list[str]]:
    """The header and the rows as text, not yet aligned."""
    header = [*(AXES[name] for name in axes), *(column.header for column in columns), "status"]
    return [header, *([*(axis(r, a) for a in axes), *(c.text(r) for c in columns), status(r)] for r in rows)]


def _widths(lines: list[list[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _length(widths: list[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _fit(widths: list[int], axes: int) -> list[int]:
    """Take from the widest axis columns until a line fits."""
    while _length(widths) > width() and max(widths[:axes]) > LEAST:
        widths[widths.index(max(widths[:axes]))] -= 1
    return widths


def _line(cells: list[str], widths: list[int], axes: int) -> str:
    parts = []
    for i, (cell, space) in enumerate(zip(cells, widths, strict=True)):
        text = cell if len(cell) <= space else cell[: space - 1] + "…"
        if i == len(cells) - 1:
            parts.append(paint(text, COLOURS.get(text, "")))
        else:
            parts.append(text.ljust(space) if i < axes else text.rjust(space))
    return GAP.join(parts).rstrip()
