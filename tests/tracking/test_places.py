"""Where results land: the main project's store, whatever folder DVC runs the stage in."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.errors import ConfigError, ToolError
from pipeline.tracking import store, track
from pipeline.tracking.store import clean, main_root, open_store
from tests.support.tiny import ROOT
from tests.tracking.results import CELLS, PARENT, Results


def run(root: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_experiment_that_dvc_runs_elsewhere_lands_in_the_main_projects_store(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = results.root
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    shutil.rmtree(root / "stages")
    stage = {"cmd": f"{sys.executable} -m stages track", "always_changed": True, "params": ["suite"]}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"track": stage}}), encoding="utf-8")
    (root / ".gitignore").write_text("mlflow.db\nmlartifacts\n.tracking\nrecords\n", encoding="utf-8")
    for command in ("init -q", "config user.email test@example.com", "config user.name Test"):
        run(root, "git", *command.split())
    run(root, sys.executable, "-m", "dvc", "init", "-q")
    run(root, "git", "add", "-A")
    run(root, "git", "commit", "-qm", "start")
    run(root, sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", "try-this", "-S", "suite=seven")
    assert results.names() == [PARENT.replace("default", "seven"), *CELLS]
    assert results.query("select distinct value from tags where key = 'dvc_exp_name'") == [("try-this",)]
    assert results.query("select distinct value from params where key = 'suite'") == [("seven",)]
    assert len(results.query("select distinct value from tags where key = 'git_commit'")) == 1
    places = results.query("select artifact_uri from runs")
    assert all(uri.startswith((root / "mlartifacts").as_uri()) for (uri,) in places)
    assert list((root / ".tracking").glob("*.json"))


def test_dvc_root_of_another_project_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "other"))
    assert main_root(tmp_path / "project") == tmp_path / "project"


@pytest.mark.parametrize(
    ("uri", "given", "shown"),
    [
        (None, "sqlite:////p/mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite:///in/store.db", "sqlite:////p/in/store.db", "sqlite:///in/store.db"),
        ("sqlite:////abs/store.db", "sqlite:////abs/store.db", "sqlite:////abs/store.db"),
        ("mlruns", "file:///p/mlruns", "mlruns"),
        ("http://user:secret@host:5000", "http://user:secret@host:5000", "http://host:5000"),
        ("postgresql://u:p%40@h/db?password=secret", "postgresql://u:p%40@h/db?password=secret", None),
        ("databricks", "databricks", "databricks"),
    ],
)
def test_relative_stores_are_in_the_project_and_credentials_are_not_shown(
    uri: str | None, given: str, shown: str | None
) -> None:
    store = open_store(Path("/p"), uri)
    assert store.uri == given
    assert store.shown == (shown or "postgresql://h/db?password=***")


def test_an_address_with_a_password_that_breaks_it_is_an_error_that_does_not_repeat_it() -> None:
    with pytest.raises(ConfigError, match="no valid address") as caught:
        open_store(Path("/p"), "http://user:sec/ret@host")
    assert "sec" not in str(caught.value)


def test_text_without_credentials_stays_as_it_is() -> None:
    text = "see https://host/a@b?c=d, mail me@host"
    assert clean(text) == text


def test_a_file_that_is_no_store_is_an_error_at_once(results: Results) -> None:
    (results.root / "mlflow.db").write_bytes(b"no database, but long enough to be looked at" * 40)
    with pytest.raises(ToolError, match=r"MLflow at sqlite:///mlflow\.db: cannot be opened: .*; move that file away"):
        track(results.root, None)


def test_a_store_that_another_program_holds_is_away(
    results: Results, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "BUSY_S", 0.1)
    with sqlite3.connect(results.root / "mlflow.db", isolation_level=None) as holder:
        holder.execute("begin exclusive")
        assert track(results.root, None).waiting == CELLS
    assert "another program holds it" in caplog.text


def test_a_folder_may_have_any_name(results: Results) -> None:
    root = results.root.rename(results.root.with_name("a b%20c#ü@"))
    assert track(root, None).delivered == CELLS
    assert len(list(root.glob("mlartifacts/*/artifacts/package/model.onnx"))) == len(CELLS)
