"""A copy of the project without its results, to measure in."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = (
    *("conf", "hydra_plugins", "pipeline", "stages", "models", "data", "imports"),
    *("dvc.yaml", ".dvcignore", "pyproject.toml"),
)


def copy_project(root: Path) -> None:
    """Copy code, configuration, the shipped model and data into `root`; DVC's lock files stay behind."""
    root.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", "dvc.lock"))
        else:
            shutil.copyfile(source, root / name)
