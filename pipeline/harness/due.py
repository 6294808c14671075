"""How many entries of the plan DVC has to run: counted by guard, and shown by stages as their place (place.py)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.harness.params import load_yaml
from pipeline.harness.stages import STAGES
from pipeline.planned import Plan


def count_due(plan: Plan, root: Path = Path()) -> tuple[int, int]:
    """(entries to run, all): due is what DVC's lock has not, has with other inputs, or has on something that is due.

    At most: where a rerun makes the same bytes, DVC leaves out what depends on it.
    """
    due: set[str] = set()
    count = number = 0
    for name, stage in STAGES.items():
        lock = _lock(root / layout.STAGES / name / "dvc.lock")
        for key in getattr(plan, stage.group):
            count += 1
            outs = [path.as_posix() for path in stage.outs(key)]
            deps = lock.get(f"{name}@{key}", {}).get("deps", ())
            if not deps or not all((root / out).exists() for out in outs) or any(_moved(d, due, root) for d in deps):
                due.update(outs)
                number += 1
    return number, count


def _moved(dep: dict[str, Any], due: set[str], root: Path) -> bool:
    """Whether a dependency will be made anew, or is one of guard's files and says something else than the lock."""
    path = str(dep["path"])
    if path in due:
        return True
    if not path.startswith((f"{layout.INPUTS}/", f"{layout.HOST}/")):
        return False
    file = root / path
    return not file.is_file() or hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != dep.get("md5")


def _lock(path: Path) -> dict[str, Any]:
    try:
        found = load_yaml(path.read_text(encoding="utf-8"))
        return dict(found["stages"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}
