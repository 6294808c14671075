"""What decides a stage's result besides its data: its entry and its code, a small file per stage that guard writes.

dvc.yaml's stages depend on `inputs/<stage>/<key>.json` in place of a dozen paths and a part of params.yaml each: DVC
reads params.yaml again for every stage that names a part of it, and rewrites all of dvc.lock after every stage, so
that what a stage lists is paid for by all of them (docs/performance.md). A stage takes its entry from this file, so
that it cannot see anything else.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import layout
from pipeline.errors import ArtifactError
from pipeline.files import read_json, write_json
from pipeline.harness.stages import STAGES, Stage
from pipeline.strict import plain, read

if TYPE_CHECKING:
    from pipeline.planned import Plan


def write_inputs(plan: Plan, root: Path = Path()) -> None:
    """Write inputs/<stage>/<key>.json for every entry of the plan, and inputs/report.json."""
    digest = cache(lambda path: digest_code(root / path))
    for name, stage in STAGES.items():
        for key, entry in getattr(plan, stage.group).items():
            code = {path: digest(path) for path in stage.code_of(getattr(entry, "backend", ""))}
            own = getattr(entry, name)
            data = {path: digest(path) for path in stage.reads(own)}
            held = {"entry": plain(own), "code": code, **({"data": data} if data else {})}
            write_json(root / layout.inputs(name, key), held)
    write_json(root / layout.inputs("report"), {"plan": plain(plan)})


def read_entry(stage: Stage, key: str) -> Any:
    """What guard wrote for a stage's entry. Raises ArtifactError where there is none."""
    path = layout.inputs(stage.name, key)
    if not path.is_file():
        known = f"the plan has no {stage.group.removesuffix('s')} '{key}', or guard has not run"
        raise ArtifactError(known, where=str(path), hint="run: dvc repro, or: python -m stages guard")
    return read(stage.entry, read_json(path).get("entry"), str(path))


def read_plan_inputs() -> Plan:
    """The plan as guard wrote it for the report."""
    from pipeline.planned import Plan

    path = layout.inputs("report")
    return read(Plan, read_json(path).get("plan"), str(path))


def digest_code(path: Path) -> str:
    """MD5 (as DVC's) of a file, or of a folder's files with their names; bytecode is left out."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    names = (f"{file.relative_to(path).as_posix()} {digest_code(file)}\n" for file in files)
    return hashlib.md5("".join(names).encode(), usedforsecurity=False).hexdigest()
