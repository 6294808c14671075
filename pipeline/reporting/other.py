"""Another run's rows: of a folder, or of a git revision, from git or, by its dvc.lock, from DVC's cache."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.errors import ArtifactError, ConfigError, first_line
from pipeline.files import read_json
from pipeline.reporting.cells import METRICS
from pipeline.rows import Row
from pipeline.strict import read

MAKE = "run dvc repro there, and dvc push; in a clone: dvc fetch --all-branches"


def other_rows(place: str) -> tuple[str, list[Row]]:
    """What the other run is called, and its rows; figures that its version did not have are None.

    Raises ConfigError where `place` is neither a folder nor a revision, ArtifactError where it has no report.
    """
    folder = Path(place)
    if place and folder.is_dir():
        found = [path for path in (folder / layout.CELLS, folder / layout.CELLS.name) if path.is_file()]
        if not found:
            raise ArtifactError("no reports/cells.json and no cells.json in it", where=place, hint="run: dvc repro")
        return place, _rows(read_json(found[0]), str(found[0]))
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{place}^{{commit}}")
    if commit is None:
        hint = "give a folder with a report, or a branch, tag or commit; in a shallow clone: git fetch --unshallow"
        raise ConfigError(f"--compare '{place}' is neither a folder nor a revision of this repository", hint=hint)
    commit = commit.strip()
    name = place if commit.startswith(place) else f"{place} ({commit[:7]})"
    text = _git("show", f"{commit}:./{layout.CELLS.as_posix()}") or _of_dvc(commit, name)
    try:
        held = json.loads(text)
    except ValueError as error:
        raise ArtifactError(f"no valid JSON: {error}", where=f"{name}: {layout.CELLS}") from None
    return name, _rows(held, f"{name}: {layout.CELLS}")


def _rows(held: Any, where: str) -> list[Row]:
    if not isinstance(held, list):
        raise ArtifactError("not a list of cells", where=where, hint="make it: python -m pipeline report")
    return [read(Row, _completed(row), f"{where}[{number}]") for number, row in enumerate(held)]


def _completed(row: Any) -> Any:
    """A row whose metrics have every figure that is known today."""
    if not isinstance(row, Mapping) or not isinstance(row.get("metrics"), Mapping):
        return row
    return {**row, "metrics": {**dict.fromkeys(METRICS), **row["metrics"]}}


def _git(*words: str) -> str | None:
    """What git says, or None where it fails."""
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, encoding="utf-8")  # noqa: S603, S607
    except FileNotFoundError:
        raise ConfigError("git is not installed, which --compare needs for a revision") from None
    return done.stdout if done.returncode == 0 else None


def _of_dvc(commit: str, name: str) -> str:
    """The report that the revision's dvc.lock names, from the cache here or the remote."""
    from dvc.api import read as dvc_read
    from dvc.exceptions import DvcException

    try:
        return str(dvc_read(layout.CELLS.as_posix(), rev=commit, encoding="utf-8"))
    except (DvcException, OSError) as error:
        why = first_line(error)
        raise ArtifactError(f"its report is neither in git nor in DVC's cache ({why})", where=name, hint=MAKE) from None
