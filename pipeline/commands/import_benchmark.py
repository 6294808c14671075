"""import-benchmark: attach a speed that another device measured to its cell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what `benchmark PACKAGE` wrote there")


def run(arguments: argparse.Namespace) -> int:
    from pipeline.packaging.benchmark_file import import_benchmark

    for path in arguments.files:
        found = import_benchmark(path)
        sys.stdout.write(f"{found.cell}: {found.metrics.decode_tokens_per_s:,.1f} tokens/s, from {path}\n")
    sys.stdout.write("run: dvc repro\n")
    return 0
