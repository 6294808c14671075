"""A copy of the project in a new folder, run as its user runs it: with subprocesses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.tiny import ROOT, write_checkpoint

COPIED = (
    "conf",
    "hydra_plugins",
    "pipeline",
    "stages",
    "dvc.yaml",
    ".dvcignore",
    "pyproject.toml",
    "data",
    "imports",
)
TASKS = ("evaluate.tasks=[data/phi-tiny/tasks.jsonl]", "evaluate.max_tasks=3", "evaluate.task_tokens=8")
SMOKE = ("suite=smoke", "model=[local]", "model.local.path=models/tiny", *TASKS)


TOOLS = ("DVC_", "MLFLOW_", "HF_", "TRANSFORMERS_")  # what other tests of this process have told them


@dataclass
class Project:
    """`root` is a git and DVC repository with a one-layer random model in models/tiny."""

    root: Path

    def run(
        self, *command: str, env: dict[str, str] | None = None, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        cleaned = {key: value for key, value in os.environ.items() if not key.startswith(TOOLS)}
        environment = {**cleaned, "PATH": path, "DVC_NO_ANALYTICS": "1", **(env or {})}
        return subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=timeout
        )

    def pipeline(self, *words: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "pipeline", *words, **kwargs)

    def dvc(self, *words: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "dvc", *words, **kwargs)

    def compose(self, *overrides: str) -> None:
        done = self.pipeline("compose", *SMOKE, *overrides)
        assert done.returncode == 0, done.stderr

    def stage(self, name: str, *key: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """Run one stage as DVC does; guard must have written its inputs."""
        return self.run(sys.executable, "-m", "stages", name, *key, **kwargs)

    def repro(self, *words: str, **kwargs: Any) -> list[str]:
        """Run `dvc repro`; the names of the stages that ran."""
        done = self.dvc("repro", *words, **kwargs)
        assert done.returncode == 0, done.stdout + done.stderr
        return ran(done.stdout)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def json(self, name: str) -> Any:
        return json.loads((self.root / name).read_text(encoding="utf-8"))


def copy_of(project: Project, root: Path) -> Project:
    """The same in another folder, with all that it has."""
    shutil.copytree(project.root, root, symlinks=True)
    return Project(root)


def ran(output: str) -> list[str]:
    """The stages that a `dvc repro` ran, from what it prints."""
    marks = [line for line in output.splitlines() if line.startswith("Running stage '")]
    return [line.split("'")[1].rpartition(":")[2] for line in marks]


def make_project(root: Path, repository: bool = True) -> Project:
    """Copy the project's code and conf to `root`; a `repository` has git and DVC as well."""
    root.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "dvc.lock", "plan.yaml"))
        else:
            shutil.copyfile(source, target)
    write_checkpoint(root / "models" / "tiny")
    project = Project(root)
    if not repository:
        return project
    for command in (("git", "init", "-q"), ("git", "config", "user.email", "test@example.com")):
        assert project.run(*command).returncode == 0
    assert project.run("git", "config", "user.name", "Test").returncode == 0
    assert project.dvc("init", "-q").returncode == 0
    shutil.copyfile(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    return project
