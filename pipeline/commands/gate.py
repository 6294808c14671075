"""gate: exit with 1 when a required cell misses a gate, for CI."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.rows import Row, Verdict


@dataclass(frozen=True)
class Held:
    """A cell held against the gates of its target; without a `cell` none of the target's is ok. `reason` where not."""

    target: str
    cell: str | None
    passed: bool
    reason: str
    gates: tuple[Verdict, ...]


@dataclass(frozen=True)
class Gated:
    """Whether all that must pass does: the cells that were named, or the best of each target."""

    passed: bool
    held: tuple[Held, ...]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cells", nargs="*", help="cells that must pass; without any, each target must have one that does"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    from pipeline import layout
    from pipeline.errors import ConfigError, suggest
    from pipeline.reporting.tables import read_cells
    from pipeline.strict import to_json

    rows = {row.id: row for row in read_cells(layout.CELLS)}
    unknown = [cell for cell in arguments.cells if cell not in rows]
    if unknown:
        raise ConfigError(f"the report has no cell '{unknown[0]}'", hint=suggest(unknown[0], rows))
    held = [_of_cell(rows[cell]) for cell in arguments.cells] if arguments.cells else _of_targets([*rows.values()])
    gated = Gated(all(one.passed for one in held), tuple(held))
    sys.stdout.write(to_json(gated) if arguments.json else text(gated))
    sys.stdout.flush()
    for one in held:
        if not one.passed:
            sys.stderr.write(f"gate: {one.cell if arguments.cells else one.target}: {one.reason}\n")
    return 0 if gated.passed else 1


def text(gated: Gated) -> str:
    """Each cell with its figures beside the bounds."""
    from pipeline.reporting.figures import gate_line
    from pipeline.terminal import paint

    lines = []
    for one in gated.held:
        said = paint("passes", "green") if one.passed else paint("does not pass", "red")
        lines.append(f"{one.target}: {one.cell or 'no cell is ok'}{f' {said}' if one.cell else ''}")
        lines += [f"  {gate_line(gate)}" for gate in one.gates]
    return "\n".join([*lines, *(["gate: passed"] if gated.passed else [])]) + "\n"


def _of_cell(row: Row) -> Held:
    from pipeline.matrix.gates import missed, passes
    from pipeline.types import Status

    if row.status is not Status.OK:
        return Held(row.target, row.id, False, f"{row.status}: {row.reason}", row.gates)
    reason = "" if passes(row.gates) else f"misses {', '.join(missed(row.gates))}"
    return Held(row.target, row.id, not reason, reason, row.gates)


def _of_targets(rows: Sequence[Row]) -> list[Held]:
    """What to ship to each target, or where nothing passes what comes closest."""
    from pipeline.reporting.choice import recommend, targets_of

    by_id, held = {row.id: row for row in rows}, []
    for choice in (recommend(rows, target) for target in targets_of(rows)):
        if choice.choice:
            held.append(Held(choice.target, choice.choice, True, "", choice.gates))
            continue
        closest = choice.closest
        said = f"closest is {closest.id}, misses {', '.join(closest.misses)}" if closest else "no cell is ok"
        gates = by_id[closest.id].gates if closest else ()
        reason = f"nothing passes its gates; {said}"
        held.append(Held(choice.target, closest.id if closest else None, False, reason, gates))
    return held
