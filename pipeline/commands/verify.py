"""verify: is a package what its manifest says? Needs no ML library."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("packages", nargs="+", type=Path, metavar="PACKAGE", help="packages/<cell>")
    parser.add_argument("--json", action="store_true", help="as JSON")


@dataclass(frozen=True)
class Verified:
    """A package that is what its manifest says: `ok` with its size in bytes, or `skipped` with the reason."""

    package: str
    cell: str
    status: str
    reason: str
    files: int
    size_bytes: int


def run(arguments: argparse.Namespace) -> int:
    from pipeline.strict import to_json

    found = []
    for folder in arguments.packages:
        found.append(_verified(folder))
        if not arguments.json:
            sys.stdout.write(_line(found[-1]))
    if arguments.json:
        sys.stdout.write(to_json(found))
    return 0


def _verified(folder: Path) -> Verified:
    from pipeline.packaging.manifest import verify
    from pipeline.types import Status

    manifest = verify(folder)
    name = str(manifest.get("cell", {}).get("id", folder.name))
    if manifest["status"] == Status.SKIPPED:
        return Verified(str(folder), name, manifest["status"], manifest["reason"], 0, 0)
    sizes = [entry["size_bytes"] for entry in manifest["files"].values()]
    return Verified(str(folder), name, manifest["status"], "", len(sizes), sum(sizes))


def _line(one: Verified) -> str:
    said = one.reason or f"{one.files} files, {one.size_bytes / 1e6:.2f} MB"
    return f"{one.package}: {one.status}{': ' if one.reason else ', '}{said}\n"
