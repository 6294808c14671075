"""Skips are data: a result that says `skipped` and why, which its dependents pass on."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TypeVar

from pipeline import layout
from pipeline.errors import ArtifactError, ToolError
from pipeline.files import read_json, write_json
from pipeline.records import Outcome
from pipeline.strict import plain, read
from pipeline.types import JSON, Status

Result = TypeVar("Result", bound=Outcome)


class Skip(Exception):  # noqa: N818 (no error)
    """Raised by a stage that cannot run here, with the reason: an outcome, no failure."""


def said(result: Path) -> JSON:
    """What a result says of itself: a JSON file, or the manifest of a folder. Raises ArtifactError without a status."""
    path = result if result.suffix == ".json" else result / layout.MANIFEST
    found = read_json(path)
    if not isinstance(found, dict) or found.get("status") not in list(Status):
        raise ArtifactError("it has no status", where=path.as_posix(), hint="remove it and run dvc repro")
    return found


def read_result(kind: type[Result], result: Path) -> Result | Outcome:
    """The result, or where it was skipped or failed an Outcome that says so. Raises ArtifactError for a broken one."""
    found = said(result)
    if found["status"] == Status.OK:
        return read(kind, found, result.as_posix())
    return Outcome(Status(found["status"]), str(found.get("reason") or ""))


def read_ok(kind: type[Result], result: Path) -> Result:
    """A result that is known to be there and ok."""
    return read(kind, said(result), result.as_posix())


def write_skipped(results: Iterable[Path], reason: str) -> None:
    """Say in each result, a JSON file or a folder's manifest, that it was skipped."""
    for result in results:
        path = result if result.suffix == ".json" else result / layout.MANIFEST
        write_json(path, plain(Outcome(Status.SKIPPED, reason)))


def why_skipped(results: Iterable[Path]) -> str | None:
    """The reason of the first skipped result, or None."""
    found = (said(result) for result in results)
    return next((str(entry["reason"]) for entry in found if entry["status"] == Status.SKIPPED), None)


def why_unusable(backend: str, without: Collection[str] = ()) -> str | None:
    """Why this machine cannot run a backend, by guard's facts; tools in `without` are not needed for the work.

    Raises ToolError for a wrong version.
    """
    facts = read_json(layout.host(backend))
    for tool, wrong in facts["wrong"].items():
        raise ToolError(f"{tool}: {wrong}", where=f"backend {backend}", hint=f"run: {facts['install']}")
    return str(facts["reason"]) if set(facts["missing"]) - set(without) else None
