"""The first failed stage on a cell's way through the pipeline, from the stages' own records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import layout
from pipeline.errors import ArtifactError
from pipeline.files import read_json
from pipeline.harness.stages import Stage
from pipeline.records import StageRecord
from pipeline.strict import read
from pipeline.types import Status


@dataclass(frozen=True)
class Failure:
    """Which stage of a cell failed, and why."""

    stage: str
    reason: str


def first_failure(way: Sequence[tuple[Stage, str]], root: Path) -> Failure | None:
    """The first stage whose last run failed. What lies behind it on the disk is of an earlier run."""
    for stage, key in way:
        record = _record(stage, key, root)
        if record and record.status is Status.FAILED and not _made_since(stage, key, root):
            return Failure(stage.name, f"{stage.name}@{key} failed: {record.reason or 'no reason is recorded'}")
    return None


def _record(stage: Stage, key: str, root: Path) -> StageRecord | None:
    path = root / layout.record(stage.name, key)
    try:
        return read(StageRecord, read_json(path), str(path))
    except ArtifactError:  # no run on this machine: the outs came from DVC's cache
        return None


def _made_since(stage: Stage, key: str, root: Path) -> bool:
    """Whether the result is newer than the record.

    DVC restores an out from its cache without running the stage, so that nothing takes a failure back when
    the settings that caused it are undone. A hard link keeps the time of its content but not of its change.
    """
    record = root / layout.record(stage.name, key)
    try:
        out = (root / stage.record(key)).lstat()
    except OSError:
        return False
    return max(out.st_mtime_ns, out.st_ctime_ns) > record.stat().st_mtime_ns
