"""verify: is a package what its manifest says? Needs no ML library."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("packages", nargs="+", type=Path, metavar="PACKAGE", help="packages/<cell>")


def run(arguments: argparse.Namespace) -> int:
    from pipeline.packaging.manifest import verify
    from pipeline.types import Status

    for folder in arguments.packages:
        manifest = verify(folder)
        if manifest["status"] == Status.SKIPPED:
            sys.stdout.write(f"{folder}: skipped: {manifest['reason']}\n")
            continue
        files = manifest["files"]
        size = sum(entry["size_bytes"] for entry in files.values()) / 1e6
        sys.stdout.write(f"{folder}: ok, {len(files)} files, {size:.2f} MB\n")
    return 0
