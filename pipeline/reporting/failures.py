"""The first failed stage on a cell's way through the pipeline, from the stages' own records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.errors import ArtifactError
from pipeline.files import read_json
from pipeline.types import JSON, Status


@dataclass(frozen=True)
class Step:
    """One stage of one cell: its key and what it leaves behind."""

    stage: str
    key: str
    out: Path

    def __str__(self) -> str:
        return f"{self.stage}@{self.key}"


def steps_of(cell: str, plan: Mapping[str, Any]) -> list[Step]:
    """The stages a cell goes through, in order; it shares all but the last two with other cells."""
    build = plan["cells"][cell]["build"]
    model, export = plan["builds"][build]["model"], plan["builds"][build]["export"]
    return [
        Step("fetch", model, layout.model(model)),
        Step("reference", model, layout.reference(model)),
        Step("convert", export, layout.export(export)),
        Step("quantize", build, layout.build(build)),
        Step("evaluate", build, layout.evaluation(build)),
        Step("package", cell, layout.package_record(cell)),
        Step("benchmark", cell, layout.benchmark(cell)),
    ]


def first_failure(steps: list[Step], root: Path) -> tuple[Step, str] | None:
    """The first step whose last run failed, and why. What lies behind it on the disk is of an earlier run."""
    for step in steps:
        record = _record(step, root)
        if record is not None and record.get("status") == Status.FAILED and not _made_since(step, root):
            return step, f"{step} failed: {record.get('reason') or 'no reason is recorded'}"
    return None


def _record(step: Step, root: Path) -> JSON | None:
    try:
        record = read_json(root / layout.record(step.stage, step.key))
    except ArtifactError:  # no run on this machine: the outs came from DVC's cache
        return None
    return record if isinstance(record, dict) else None


def _made_since(step: Step, root: Path) -> bool:
    """Whether the out is newer than the record.

    DVC restores an out from its cache without running the stage, so that nothing takes a failure back when
    the settings that caused it are undone. A hard link keeps the time of its content but not of its change.
    """
    record = root / layout.record(step.stage, step.key)
    try:
        out = (root / step.out).lstat()
    except OSError:
        return False
    return max(out.st_mtime_ns, out.st_ctime_ns) > record.stat().st_mtime_ns
