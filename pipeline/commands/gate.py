"""gate: exit with 1 when a required cell misses a gate, for CI."""

from __future__ import annotations

import argparse
import sys

from pipeline.records import Row


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cells", nargs="*", help="cells that must pass; without any, each target must have one that does"
    )


def run(arguments: argparse.Namespace) -> int:
    from pipeline import layout
    from pipeline.errors import ConfigError, suggest
    from pipeline.reporting.tables import read_cells

    rows = {row.id: row for row in read_cells(layout.CELLS)}
    unknown = [cell for cell in arguments.cells if cell not in rows]
    if unknown:
        raise ConfigError(f"the report has no cell '{unknown[0]}'", hint=suggest(unknown[0], rows))
    failures = _of_cells([rows[cell] for cell in arguments.cells]) if arguments.cells else _of_targets([*rows.values()])
    for failure in failures:
        sys.stderr.write(f"gate: {failure}\n")
    if not failures:
        sys.stdout.write("gate: passed\n")
    return 1 if failures else 0


def _of_cells(rows: list[Row]) -> list[str]:
    """Why cells that must pass do not."""
    from pipeline.matrix.gates import missed
    from pipeline.types import Status

    failures = []
    for row in rows:
        if row.status is not Status.OK:
            failures.append(f"{row.id}: {row.status}: {row.reason}")
        elif missed(row.gates):
            failures.append(f"{row.id}: misses {', '.join(missed(row.gates))}")
    return failures


def _of_targets(rows: list[Row]) -> list[str]:
    """The targets where nothing passes, with what comes closest."""
    from pipeline.reporting.choice import recommend, targets_of

    failures = []
    for choice in (recommend(rows, target) for target in targets_of(rows)):
        if not choice.choice:
            closest = choice.closest
            said = f"closest is {closest.id}, misses {', '.join(closest.misses)}" if closest else "no cell is ok"
            failures.append(f"{choice.target}: nothing passes its gates; {said}")
    return failures
