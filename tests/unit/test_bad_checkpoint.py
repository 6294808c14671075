"""A checkpoint that is broken, unsafe or unknown is refused by fetch with one clear line, before heavy work."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.project import Project


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def cut_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def missing_shard(folder: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.safetensors").unlink()


def outside_shard(folder: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "../../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.safetensors").unlink()


def only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def corrupt_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    path.write_bytes(raw[:8] + b"x" * length + raw[8 + length :])


def other_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["normalizer"] = None
    path.write_text(json.dumps(tokenizer), encoding="utf-8")


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated shard": (truncate, "the shard is truncated"),
    "cut header": (cut_header, "cut in its header"),
    "corrupt header": (corrupt_header, "header is corrupt"),
    "missing shard": (missing_shard, "model-00001-of-00002.safetensors: the shard is missing"),
    "shard outside the folder": (outside_shard, "names a file outside the folder"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "neither model.safetensors nor"),
    "pickle weights": (only_pickle, "only pickled weights (pytorch_model.bin)"),
    "unknown architecture": (
        lambda folder: edit_config(folder, architectures=["LlamaForCausalLM"]),
        "architecture LlamaForCausalLM is not known to any backend",
    ),
    "a layer too many": (lambda folder: edit_config(folder, num_hidden_layers=2), "tensors are missing"),
    "another vocabulary": (lambda folder: edit_config(folder, vocab_size=4096), "model.embed_tokens.weight has shape"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "it has no tokenizer.json"),
    "a tokenizer that disagrees": (other_tokenizer, "tokenizer.json and tokenizer.model disagree on"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_checkpoint_is_refused(project: Project, name: str) -> None:
    spoil, message = CASES[name]
    project.compose()
    assert project.stage("guard").returncode == 0
    spoil(project.root / "models/tiny")
    done = project.stage("fetch", "local")
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: fetch@local: "), done.stderr
    assert message in lines[0]
    assert not (project.root / "artifacts/models/local").exists()
    assert not list((project.root / "artifacts/models").glob(".*")), "half a folder was left"
    assert project.json("records/fetch/local.json")["status"] == "failed"


def test_fetch_writes_rope_in_both_spellings_and_digests(project: Project) -> None:
    project.compose()
    assert project.stage("guard").returncode == 0
    assert project.stage("fetch", "local").returncode == 0
    config = project.json("artifacts/models/local/config.json")
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]
    manifest = project.json("artifacts/models/local/manifest.json")
    assert list(manifest["weights"]) == ["model.safetensors"]
    assert not (project.root / "artifacts/models/local/model.safetensors").exists()
