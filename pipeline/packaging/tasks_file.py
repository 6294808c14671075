"""Figures of lm-evaluation-harness on a package, kept with its cell as imported speeds are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline import layout
from pipeline.answers import HarnessFile
from pipeline.files import read_json, write_json
from pipeline.strict import plain, read
from pipeline.types import Status


def attach(found: HarnessFile) -> bool:
    """Keep figures of the package that is here, beside those of other tasks on it; whether it is."""
    record = layout.package_record(found.cell)
    if not record.is_file():
        return False
    packaged = read_json(record)
    if packaged["status"] != Status.OK or packaged["sha256"] != found.package_sha256:
        return False
    before = attached(found.cell, found.package_sha256)
    if before is not None:
        again = {f"{task}/" for task in found.settings}
        kept = {name: value for name, value in before.figures.items() if f"{name.partition('/')[0]}/" not in again}
        settings = {**before.settings, **found.settings}
        found = replace(found, figures={**kept, **found.figures}, settings=settings)
    write_json(layout.harness(found.cell), plain(found))
    return True


def attached(cell: str, sha256: str, root: Path = Path()) -> HarnessFile | None:
    """What is kept of a cell, where it is of this very package."""
    path = root / layout.harness(cell)
    if not path.is_file():
        return None
    found = read(HarnessFile, read_json(path), str(path))
    return found if found.package_sha256 == sha256 else None
