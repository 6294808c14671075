"""report: reports/ from what the stages left, failures included, and the comparison on the terminal."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.planned import Plan
    from pipeline.rows import Row

PULLED = "\nNothing of this matrix was run here: these are the figures of the report as it was pulled.\n"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print reports/cells.json instead of the table")
    parser.add_argument("--fill", type=Path, metavar="PAGE", help="put the formats' figures between a page's markers")
    parser.add_argument(
        "--compare",
        type=_place,
        metavar="REV|FOLDER",
        help="what changed since another run, of a git revision or in a folder; writes reports/comment.md as well",
    )


def _place(text: str) -> Path | str:
    """A folder, which stays what it is when the command goes to the project's root; else a revision."""
    return Path(text) if text and Path(text).is_dir() else text


def run(arguments: argparse.Namespace) -> int:
    from pipeline import layout
    from pipeline.harness.params import read_params
    from pipeline.matrix.plan import make_plan
    from pipeline.reporting import tables
    from pipeline.reporting.cells import cell_rows
    from pipeline.reporting.console import table, verdicts
    from pipeline.reporting.formats import fill
    from pipeline.reporting.other import other_rows
    from pipeline.reporting.report import write_report
    from pipeline.types import Status

    other = None if arguments.compare is None else other_rows(str(arguments.compare))  # before it may be written over
    plan, note = make_plan(read_params()), ""
    rows = cell_rows(plan, Path())
    if layout.CELLS.is_file() and all(row.status is Status.NOT_RUN for row in rows):
        rows, note = tables.read_cells(layout.CELLS), PULLED
    else:
        rows = write_report(plan)
    if arguments.fill:
        fill(arguments.fill, rows, {name: look.format for name, look in plan.backends.items()})
    if other:
        sys.stdout.write(_compared(other, rows, plan, arguments.json))
    else:
        shown = table(rows) + f"\n{note}\n{verdicts(rows)}"
        sys.stdout.write(tables.cells_json(rows) if arguments.json else shown)
    return 1 if any(row.status is Status.FAILED for row in rows) else 0


def _compared(other: tuple[str, list[Row]], rows: list[Row], plan: Plan, as_json: bool) -> str:
    """What changed since the other run; the comment for a pull request is written beside the report."""
    from pipeline import layout
    from pipeline.files import write_text
    from pipeline.reporting.compare import compare
    from pipeline.reporting.compare_text import markdown, text
    from pipeline.reporting.figures import title
    from pipeline.strict import plain

    comparison = compare(*other, rows)
    write_text(layout.COMMENT, markdown(comparison, title(rows, plan.suite)))
    return json.dumps(plain(comparison), indent=2) + "\n" if as_json else text(comparison)
