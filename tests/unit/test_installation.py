"""What the project imports is what it declares, and what it installs is all of it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.commands.init import HELD, LEFT, PROJECT, _copy
from tests.support.tiny import ROOT

FOLDERS = ("pipeline", "stages")
DATA = (".py", ".json", ".html", ".css", ".js", ".gz")  # what of a package's folder is in the wheel
APART = {"llama_cpp"}  # compiled, with a lock file of its own: requirements-llamacpp.lock


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def imported() -> dict[str, str]:
    """Top-level module → a file that imports it, of all that is neither ours nor Python's."""
    found: dict[str, str] = {}
    for path in (file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names.append(str(node.module))
            for name in names:
                found.setdefault(name.partition(".")[0], path.relative_to(ROOT).as_posix())
    return {name: file for name, file in found.items() if name not in sys.stdlib_module_names and name not in FOLDERS}


def test_every_imported_package_is_declared_outside_the_extra_for_development() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [lines for name, lines in project["optional-dependencies"].items() if name != "dev"]
    lines = [line for group in (project["dependencies"], *extras) for line in group]
    declared = {normal(line.partition(";")[0].split("=")[0].split("<")[0].split(">")[0].strip()) for line in lines}
    owners = metadata.packages_distributions()
    missing = {
        name: file
        for name, file in imported().items()
        if name not in APART and not {normal(owner) for owner in owners.get(name, [])} & declared
    }
    assert not missing


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy of what git would have."""
    root = tmp_path_factory.mktemp("source")
    for name in ("pipeline", *PROJECT):
        _copy(ROOT / name, root / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = (root / "out").glob("*.whl")
    return made


def test_a_wheel_holds_every_module_and_runs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("pipeline/") and f"/{HELD}/" not in name}
        archive.extractall(tmp_path)
    files = (path for path in (ROOT / "pipeline").rglob("*") if path.suffix in DATA)
    assert held == {path.relative_to(ROOT).as_posix() for path in files}
    done = subprocess.run([sys.executable, "-m", "pipeline", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "recommend" in done.stdout, done.stderr


def test_a_wheel_makes_a_project_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    installed, folder = tmp_path / "installed", tmp_path / "project"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)

    def said(*words: str, cwd: Path = folder) -> str:
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        done = subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else done.stderr

    assert "phi-deploy init FOLDER" in said("-m", "pipeline", "plan", cwd=tmp_path)
    made = json.loads(said("-m", "pipeline", "init", "project", "--json", cwd=tmp_path))
    assert made == {"folder": str(folder), "git": True} and (folder / ".git").is_dir()
    assert "the folder is not empty" in said("-m", "pipeline", "init", "project", cwd=tmp_path)
    for name in ("pipeline", *PROJECT):
        source = ROOT / name
        files = [source] if source.is_file() else [file for file in source.rglob("*") if file.is_file()]
        for file in (file for file in files if not set(file.parts) & set(LEFT)):
            assert (folder / file.relative_to(ROOT)).read_bytes() == file.read_bytes()
    # the commands are those of the folder's code, from wherever in it; DVC composes and guard accepts what it wrote
    (folder / "pipeline/version.py").write_text('VERSION = "9"\n', encoding="utf-8")
    plan = json.loads(said("-m", "pipeline", "plan", "--json", "precision=[int4]", "target=[cpu]", cwd=folder / "conf"))
    assert len(plan["cells"]) == 3
    assert "3 cells" in said("-m", "pipeline", "compose", "precision=[int4]", "target=[cpu]", cwd=folder / "conf")
    assert not said("-m", "stages", "guard") and (folder / "inputs/fetch/phi-tiny.json").is_file()


def test_without_git_dvc_is_told(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipeline", "init", "project"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "there is no git" in done.stdout, done.stderr
    status = [sys.executable, "-m", "dvc", "status", "-q"]
    done = subprocess.run(status, cwd=tmp_path / "project", env=environment, capture_output=True, text=True)
    assert "error" not in done.stderr.lower(), done.stderr
