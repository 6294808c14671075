"""A hub id at a revision: downloaded, resolved to its commit, safetensors only; every refusal is one clear line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub import COMMIT, REPO, serve
from tests.support.project import Project

HUB_MODEL = f"""# a model of the stand-in hub
# python -m pipeline plan 'model=[stand-in]'
stand-in:
  repo: {REPO}
  revision: main
  license: mit
  architecture: Phi3ForCausalLM
  context_length: 2048
  hidden_size: 256
  intermediate_size: 256
  parameters: 2000000
"""


def fetch(project: Project, endpoint: str, *overrides: str, **env: str) -> subprocess.CompletedProcess[str]:
    (project.root / "conf/model/stand-in.yaml").write_text(HUB_MODEL, encoding="utf-8")
    done = project.pipeline("compose", "suite=smoke", "model=[stand-in]", *overrides)
    assert done.returncode == 0, done.stderr
    environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(project.root / "hf"), "HF_HUB_DISABLE_XET": "1", **env}
    return project.run(sys.executable, "-m", "stages.fetch", "stand-in", env=environment)


def test_a_hub_model_is_fetched_at_its_commit(project: Project) -> None:
    (project.root / "models/tiny/pytorch_model.bin").write_bytes(b"never asked for")
    (project.root / "models/tiny/modeling_evil.py").write_text("raise SystemExit", encoding="utf-8")
    with serve(project.root / "models/tiny") as (endpoint, asked):
        done = fetch(project, endpoint)
    assert done.returncode == 0, done.stderr
    folder = project.root / "artifacts/models/stand-in"
    assert project.json("artifacts/models/stand-in/manifest.json")["revision"] == COMMIT
    assert (folder / "model.safetensors").read_bytes() == (project.root / "models/tiny/model.safetensors").read_bytes()
    assert not list(folder.glob("*.bin")) and not list(folder.glob("*.py"))
    assert not any(path.endswith((".bin", ".py")) for path in asked)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "RepoNotFound", "there is no such repository, or it is private"),
        (401, "RepoNotFound", "there is no such repository, or it is private"),
        (403, "GatedRepo", "it is gated"),
        (404, "RevisionNotFound", "there is no such revision"),
        (500, "", "the hub cannot be reached or refused"),
    ],
)
def test_a_refusal_of_the_hub_is_one_clear_line(project: Project, status: int, code: str, message: str) -> None:
    with serve(project.root / "models/tiny", status=status, code=code) as (endpoint, _):
        done = fetch(project, endpoint)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert f"hub model {REPO}@main: {message}" in done.stderr


def test_a_hub_that_is_away_is_one_clear_line(project: Project) -> None:
    done = fetch(project, "http://127.0.0.1:9")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "take a local folder" in done.stderr


def test_offline_says_so(project: Project) -> None:
    done = fetch(project, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_token_never_shows(project: Project, tmp_path: Path) -> None:
    with serve(project.root / "models/tiny", status=500) as (endpoint, _):
        done = fetch(project, endpoint, HF_TOKEN="hf_secret_token")
    shown = done.stdout + done.stderr + (project.root / "records/fetch/stand-in.json").read_text(encoding="utf-8")
    assert "hf_secret_token" not in shown
