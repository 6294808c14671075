"""import-benchmark: attach a speed that another device measured to its cell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what `benchmark PACKAGE` wrote there")
    parser.add_argument("--json", action="store_true", help="what was imported, as JSON")


def run(arguments: argparse.Namespace) -> int:
    from pipeline.packaging.benchmark_file import import_benchmark
    from pipeline.strict import to_json

    found = []
    for path in arguments.files:
        found.append(import_benchmark(path))
        if not arguments.json:
            speed = found[-1].metrics.decode_tokens_per_s
            sys.stdout.write(f"{found[-1].cell}: {speed:,.1f} tokens/s, from {path}\n")
    sys.stdout.write(to_json(found) if arguments.json else "run: dvc repro\n")
    return 0
