"""gate: exit with 1 when a required cell misses a gate, for CI."""

from __future__ import annotations

import argparse
import sys


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cells", nargs="*", help="cells that must pass; without any, each target must have one that does"
    )


def run(arguments: argparse.Namespace) -> int:
    from pipeline import layout
    from pipeline.errors import ConfigError, suggest
    from pipeline.files import read_json
    from pipeline.matrix.gates import missed
    from pipeline.reporting.choice import recommend

    records = {record["id"]: record for record in read_json(layout.CELLS)}
    unknown = [cell for cell in arguments.cells if cell not in records]
    if unknown:
        raise ConfigError(f"the report has no cell '{unknown[0]}'", hint=suggest(unknown[0], records))
    failures = []
    for cell in arguments.cells:
        record = records[cell]
        if record["status"] != "ok":
            failures.append(f"{cell}: {record['status']}: {record['reason']}")
        elif missed(record["gates"]):
            failures.append(f"{cell}: misses {', '.join(missed(record['gates']))}")
    if not arguments.cells:
        for target in dict.fromkeys(record["target"] for record in records.values()):
            choice = recommend(list(records.values()), target)
            if not choice["choice"]:
                closest = choice["closest"]
                said = (
                    f"closest is {closest['id']}, misses {', '.join(closest['misses'])}" if closest else "no cell is ok"
                )
                failures.append(f"{target}: nothing passes its gates; {said}")
    for failure in failures:
        sys.stderr.write(f"gate: {failure}\n")
    if not failures:
        sys.stdout.write("gate: passed\n")
    return 1 if failures else 0
