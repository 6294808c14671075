"""The part of the lock that some backends need: closed, with every hash, and nothing of the others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.harness.lock import _entries, _via, needed
from tests.support.tiny import ROOT

LOCK, PROJECT = ((ROOT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "pyproject.toml"))
OWN = {
    "onnxruntime": {"onnxruntime", "onnxruntime-genai", "nncf"},
    "openvino": {"openvino", "openvino-genai", "nncf"},
    "llamacpp": {"gguf"},
    "mlx": {"mlx", "mlx-lm"},
}


@pytest.mark.parametrize("backend", OWN)
def test_a_backends_part_has_its_own_and_not_the_others(backend: str) -> None:
    kept, whole = _entries(needed(LOCK, PROJECT, [backend])), _entries(LOCK)
    assert set(kept) >= {"dvc", "hydra-core", "mlflow", "transformers", *OWN[backend]}
    others = set().union(*OWN.values()) - OWN[backend]
    assert not others & set(kept) and "pytest" not in kept
    assert all(kept[name] == whole[name] for name in kept)


def test_what_a_kept_package_asks_for_is_kept() -> None:
    kept = _entries(needed(LOCK, PROJECT, ["openvino"]))
    missing = {name for name, entry in _entries(LOCK).items() if name not in kept and set(_via(entry)) & set(kept)}
    assert not missing


def test_an_unknown_backend_is_one_line() -> None:
    command = [sys.executable, "-m", "pipeline.harness.lock", "onnxruntim"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "error: BACKENDS: unknown backend 'onnxruntim'; did you mean 'onnxruntime'?\n"
