"""report: reports/ from what the stages left, failures included, and the comparison on the terminal."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

PULLED = "\nNothing of this matrix was run here: these are the figures of the report as it was pulled.\n"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print reports/cells.json instead of the table")
    parser.add_argument("--fill", type=Path, metavar="PAGE", help="put the formats' figures between a page's markers")


def run(arguments: argparse.Namespace) -> int:
    from pipeline import layout
    from pipeline.harness.params import read_params
    from pipeline.matrix.plan import make_plan
    from pipeline.reporting import tables
    from pipeline.reporting.cells import cell_rows
    from pipeline.reporting.console import table
    from pipeline.reporting.formats import fill
    from pipeline.reporting.report import write_report
    from pipeline.types import Status

    plan, note = make_plan(read_params()), ""
    rows = cell_rows(plan, Path())
    if layout.CELLS.is_file() and all(row.status is Status.NOT_RUN for row in rows):
        rows, note = tables.read_cells(layout.CELLS), PULLED
    else:
        rows = write_report(plan)
    if arguments.fill:
        fill(arguments.fill, rows, {name: look.format for name, look in plan.backends.items()})
    sys.stdout.write(tables.cells_json(rows) if arguments.json else table(rows) + f"\n{note}")
    return 1 if any(row.status is Status.FAILED for row in rows) else 0
