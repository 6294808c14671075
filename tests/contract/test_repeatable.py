"""The same checkpoint gives the same bytes, wherever the project and its environment lie, at whatever commit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline.backends.registry import backends
from tests.support.tiny import ROOT, write_canonical

MAKE = """
import sys, json
from pathlib import Path
import numpy as np
from pipeline.backends.base import Calibration
from pipeline.packaging.manifest import digests
from types import SimpleNamespace
from pipeline.matrix.fallbacks import resolved
from pipeline.matrix.recipes import needs_calibration, parse_recipe
from pipeline.backends.registry import load_backend
from pipeline.harness.run import setup
from pipeline.types import Checkpoint, Family
from tests.support.backends import conf_of, order
name, model, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
setup()
conf = conf_of(name)
backend = load_backend(name)
checkpoint = Checkpoint("tiny", model, model, json.loads((model / "config.json").read_text("utf-8")))
recipe = parse_recipe("default", Family("int4"), conf["recipes"]["int4"]["default"], "", conf["methods"])
recipe = resolved(recipe, SimpleNamespace(**checkpoint.config), conf.get("rows", {}))
data = Calibration(np.random.default_rng(0).integers(3, 2000, (4, 32)))
export, build = out / "export", out / "build"
for folder in (export, build):
    folder.mkdir(parents=True)
backend.convert(checkpoint, conf["forms"][recipe.form], export)
backend.quantize(export, order(recipe, build, data if needs_calibration(recipe, conf["methods"]) else None, checkpoint))
print(json.dumps({folder.name: digests(folder) for folder in (export, build)}))
"""


def place(root: Path, commit: str) -> Path:
    """A project folder at a commit (none: no git), with the model builder installed in the .venv within it."""
    packages = root / ".venv/lib/python3/site-packages"
    spec = find_spec("onnxruntime_genai")
    assert spec is not None and spec.submodule_search_locations
    shutil.copytree(spec.submodule_search_locations[0], packages / "onnxruntime_genai", copy_function=link)
    if commit:
        git = ("git", "-c", "user.name=Test", "-c", "user.email=test@example.com")
        for command in (("git", "init", "-q"), (*git, "commit", "-qm", commit, "--allow-empty")):
            subprocess.run(command, cwd=root, check=True)
    return packages


def link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@pytest.mark.parametrize("name", backends())
def test_bytes_depend_neither_on_the_commit_nor_on_the_place(name: str, tmp_path: Path) -> None:
    write_canonical(tmp_path / "model")
    made = {}
    for commit in ("one", "two", ""):
        root = tmp_path / f"project-{commit}"
        packages = place(root, commit)
        done = subprocess.run(
            [sys.executable, "-c", MAKE, name, tmp_path / "model", root / "out"],
            cwd=root,
            env={**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        made[commit] = json.loads(done.stdout.strip().splitlines()[-1])
    assert made["one"] == made["two"] == made[""]
    assert all(made["one"].values())
