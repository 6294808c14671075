"""init: a project in an empty folder, as a clone has it: conf/, data/, stages with their code, the shipped model."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

# What a project is made of besides this package; setup.py puts it into the wheel.
PROJECT = (
    *(".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore", ".vscode", "LICENSE", "Makefile", "README.md"),
    *("conf", "data", "docs", "dvc.yaml", "hydra_plugins", "imports", "models/phi-tiny"),
    *("models/phi-tiny-vision", "params.yaml"),
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
    parser.add_argument("--json", action="store_true", help="where it is, and whether in a git repository, as JSON")


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
    git = _versioned(folder)
    if arguments.json:
        sys.stdout.write(json.dumps({"folder": str(folder.resolve()), "git": git}) + "\n")
        return 0
    said = "" if git else "; there is no git, so that dvc exp does not work"
    sys.stdout.write(f"{folder.resolve()}: a project with the model phi-tiny{said}\n")
    sys.stdout.write(f"next: {'' if folder == Path() else f'cd {folder} && '}phi-deploy plan\n")
    return 0


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT), dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _versioned(folder: Path) -> bool:
    """Whether there is git: a folder in no repository gets its own, and DVC is told where there can be none."""
    try:
        for command in (("git", "rev-parse", "--git-dir"), ("git", "init", "-q")):
            if subprocess.run(command, cwd=folder, capture_output=True).returncode == 0:
                return True
    except OSError:
        pass
    config = folder / ".dvc/config"
    told = config.read_text(encoding="utf-8").replace("[core]\n", "[core]\n    no_scm = true\n", 1)
    config.write_text(told, encoding="utf-8")
    return False
