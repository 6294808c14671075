"""Fixtures: results that track may deliver, fresh or delivered already."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.tracking import track
from tests.tracking.results import Results, empty, make_results


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell that knows nothing of DVC and MLflow; what delivery sets ends with the test."""
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Results:
    made = make_results(tmp_path_factory.mktemp("delivered") / "project")
    track(made.root, None)
    return made


@pytest.fixture
def delivered(once: Results, tmp_path: Path) -> Results:
    """Two finished cells, delivered to the default store. A copy, which a test may change."""
    root = tmp_path / "project"
    shutil.copytree(once.root, root)
    return Results(root)


@pytest.fixture
def results(once: Results, tmp_path: Path) -> Results:
    """Two finished cells, nothing delivered. The store is there but empty, as making one takes seconds."""
    made = make_results(tmp_path / "project")
    shutil.copyfile(once.root / "mlflow.db", made.root / "mlflow.db")
    empty(made.root / "mlflow.db")
    return made
