"""Fixtures: a fresh copy of the project, and one that went through a whole `dvc repro`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.project import Project, make_project
from tests.support.sweeps import make_placeholder_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy of the project's files, without git and DVC; nothing composed, nothing run."""
    return make_project(tmp_path / "project", repository=False)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """The smoke suite on a one-layer random model after a whole `dvc repro`. Copy it before changing it."""
    own = tmp_path_factory.getbasetemp()
    # pytest-xdist's workers share one, which one of them runs. Without workers, the folder above is of all sessions.
    shared = own if worker_id == "master" else own.parent
    made = Project(shared / "finished")
    with FileLock(shared / "finished.lock"):
        if not (shared / "finished.done").exists():
            make_project(made.root)
            made.compose()
            made.repro()
            (shared / "finished.done").touch()
    return made


@pytest.fixture
def copy(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project that a test may change."""
    root = tmp_path / "copy"
    shutil.copytree(finished.root, root, symlinks=True)
    return Project(root)


@pytest.fixture
def placeholders(tmp_path: Path) -> Project:
    """Two cells of one model, whose stages do nothing."""
    return make_placeholder_project(tmp_path / "placeholders")
