"""What a run of many stages did and left, and a project of placeholders to run."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.placeholder import add_models, make_placeholders
from pipeline.packaging.manifest import sha256
from tests.support.project import Project, make_project
from tests.support.tiny import ROOT


def make_placeholder_project(root: Path) -> Project:
    """Two cells of one model, whose stages do nothing; composed and committed."""
    project = make_project(root)
    make_placeholders(project.root)
    add_models(project.root, 1)
    shutil.copyfile(ROOT / ".gitignore", project.root / ".gitignore")
    matrix = ("model=[m001]", "precision=[fp32,int4]", "backend=[onnxruntime]", "target=[cpu]")
    done = project.pipeline("compose", *matrix)
    assert done.returncode == 0, done.stderr
    return project


def started(project: Project) -> dict[str, str]:
    """When each stage that ran began."""
    found = {}
    for path in project.root.glob("records/*/*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[f"{record['stage']}@{record['key']}"] = f"{record['started']} {path.stat().st_mtime_ns}"
    return {name: when for name, when in found.items() if name.partition("@")[0] not in ("guard", "report", "track")}


def files(root: Path) -> dict[str, str]:
    """Digests of all that the stages left, speeds left out."""
    paths = (path for folder in ("artifacts", "packages") for path in (root / folder).rglob("*") if path.is_file())
    found = {path.relative_to(root).as_posix(): sha256(path) for path in paths if path.name != ".gitignore"}
    return {name: digest for name, digest in found.items() if not name.startswith("artifacts/benchmarks")}


def locks(root: Path) -> dict[str, Any]:
    """The entries of all lock files but those that speeds decide."""
    found: dict[str, Any] = {}
    for path in (root / "stages").glob("*/dvc.lock"):
        if path.parent.name != "benchmark":
            found |= yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
    return found


def of_stage(pid: int, stage: str) -> list[psutil.Process]:
    """Processes of a stage below one, once there are two of them."""
    found = [
        process
        for process in psutil.Process(pid).children(recursive=True)
        if process.cmdline()[1:4] == ["-m", "stages", stage]
    ]
    return found if len(found) == 2 else []


def until(there: Any, seconds: float = 60.0) -> Any:
    """What `there` returns, once it is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := there():
                return found
        except psutil.Error:
            pass
        time.sleep(0.2)
    raise AssertionError("it did not come")
