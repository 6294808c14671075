"""A hub id at a revision: downloaded, resolved to its commit, safetensors only; every refusal is one clear line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

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
    assert project.stage("guard").returncode == 0
    return project.stage("fetch", "stand-in", env=environment)


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


def test_a_download_that_was_cut_is_resumed(project: Project) -> None:
    path = project.root / "models/tiny/model.safetensors"
    filler = np.zeros((3000, 2000), np.float32)  # 24 MB: the hub's client keeps what it has in pieces of 10 MB
    save_file({**load_file(path), "model.rotary_emb.inv_freq": filler}, path, metadata={"format": "pt"})
    whole = path.read_bytes()
    cut = len(whole) - 5_000_000
    with serve(project.root / "models/tiny", cut=cut) as (endpoint, asked):
        first = fetch(project, endpoint)
        if first.returncode:
            assert len(first.stderr.strip().splitlines()) == 1, first.stderr
            assert fetch(project, endpoint).returncode == 0
    ranges = [path for path in asked if "model.safetensors bytes=" in path]
    assert ranges and not any("bytes=0-" in path for path in ranges), asked
    assert (project.root / "artifacts/models/stand-in/model.safetensors").read_bytes() == whole


def test_a_file_of_the_wrong_size_is_one_clear_line(project: Project) -> None:
    with serve(project.root / "models/tiny", short=1000) as (endpoint, _):
        done = fetch(project, endpoint, HF_HUB_DOWNLOAD_TIMEOUT="2")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (project.root / "artifacts/models/stand-in").exists()


def test_offline_takes_what_the_cache_has(project: Project) -> None:
    with serve(project.root / "models/tiny") as (endpoint, _):
        assert fetch(project, endpoint).returncode == 0
    for environment in ({"HF_HUB_OFFLINE": "1"}, {}):
        done = fetch(project, "http://127.0.0.1:9", **environment)
        assert done.returncode == 0, done.stderr
        assert "the cached commit 0123456789ab is taken" in done.stderr
        assert project.json("artifacts/models/stand-in/manifest.json")["revision"] == COMMIT


def test_a_revision_that_moved_is_fetched_anew(project: Project) -> None:
    moved = "fedcba9876543210fedcba9876543210fedcba98"
    with serve(project.root / "models/tiny") as (endpoint, _):
        assert fetch(project, endpoint).returncode == 0
    project.edit("models/tiny/config.json", '"rms_norm_eps": 1e-05', '"rms_norm_eps": 1e-06')
    with serve(project.root / "models/tiny", commit=moved) as (endpoint, _):
        assert fetch(project, endpoint).returncode == 0
    assert project.json("artifacts/models/stand-in/manifest.json")["revision"] == moved
    assert project.json("artifacts/models/stand-in/config.json")["rms_norm_eps"] == 1e-6


def test_a_token_never_shows(project: Project, tmp_path: Path) -> None:
    with serve(project.root / "models/tiny", status=500) as (endpoint, _):
        done = fetch(project, endpoint, HF_TOKEN="hf_secret_token")
    shown = done.stdout + done.stderr + (project.root / "records/fetch/stand-in.json").read_text(encoding="utf-8")
    assert "hf_secret_token" not in shown
