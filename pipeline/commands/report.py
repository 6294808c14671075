"""report: reports/ from what the stages left, failures included, and the comparison on the terminal."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print reports/cells.json instead of the table")
    parser.add_argument("--fill", type=Path, metavar="PAGE", help="put the formats' figures between a page's markers")


def run(arguments: argparse.Namespace) -> int:
    import json

    from pipeline.harness.params import read_params
    from pipeline.reporting.console import table
    from pipeline.reporting.formats import fill
    from pipeline.reporting.report import write_report
    from pipeline.types import Status

    records = write_report(read_params())
    if arguments.fill:
        fill(arguments.fill, records)
    sys.stdout.write(json.dumps(records, indent=2) + "\n" if arguments.json else table(records) + "\n")
    return 1 if any(record["status"] == Status.FAILED for record in records) else 0
