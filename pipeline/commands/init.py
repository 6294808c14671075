"""init: a project in an empty folder, as a clone has it: conf/, data/, stages with their code, the shipped model."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

# What a project is made of besides this package; setup.py puts it into the wheel.
PROJECT = (
    *(".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore", ".vscode", "LICENSE", "Makefile", "README.md"),
    *("conf", "data", "docs", "dvc.yaml", "hydra_plugins", "imports", "models/phi-tiny", "params.yaml"),
    *("pyproject.toml", "requirements-llamacpp.lock", "requirements.lock", "schemas", "setup.py", "stages"),
)
HELD = "_project"  # in the installed package
LEFT = ("__pycache__", "dvc.lock", HELD)  # of this machine, or of results


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="empty, or not there yet (default: .)",
    )


def run(arguments: argparse.Namespace) -> int:
    from pipeline.errors import ConfigError

    folder: Path = arguments.folder
    if folder.exists() and not folder.is_dir():
        raise ConfigError("it is no folder", where=str(folder))
    if folder.is_dir() and any(path.name != ".git" for path in folder.iterdir()):
        raise ConfigError(
            "the folder is not empty", where=str(folder.resolve()), hint="name another: phi-deploy init FOLDER"
        )
    package = Path(__file__).resolve().parents[1]
    held = package / HELD if (package / HELD).is_dir() else package.parent  # a wheel's, or a checkout
    for name in PROJECT:
        _copy(held / name, folder / name)
    _copy(package, folder / "pipeline")
    said = _versioned(folder)
    sys.stdout.write(f"{folder.resolve()}: a project with the model phi-tiny{said}\n")
    sys.stdout.write(f"next: {'' if folder == Path() else f'cd {folder} && '}phi-deploy plan\n")
    return 0


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT), dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _versioned(folder: Path) -> str:
    """A git repository, where the folder is in none; DVC wants one, or to be told that there is none."""
    try:
        inside = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=folder, capture_output=True)
        if inside.returncode == 0:
            return ""
        if subprocess.run(["git", "init", "-q"], cwd=folder).returncode == 0:
            return ", in a new git repository"
    except OSError:
        pass
    with (folder / ".dvc/config").open("a", encoding="utf-8") as config:
        config.write("[core]\n    no_scm = true\n")
    return "; there is no git, so that dvc exp does not work"
