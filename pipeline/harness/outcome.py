"""Skips are data: an artifact that says `skipped` and why, which its dependents pass on."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pipeline import layout
from pipeline.errors import ToolError
from pipeline.files import read_json
from pipeline.types import JSON, Status


def outcome(artifact: Path) -> JSON:
    """What an artifact says of itself: a JSON file, or the manifest of a folder."""
    said: JSON = read_json(artifact if artifact.suffix == ".json" else artifact / layout.MANIFEST)
    return said


def why_skipped(*artifacts: Path) -> str | None:
    """The reason of the first skipped artifact, or None."""
    for artifact in artifacts:
        said = outcome(artifact)
        if said["status"] == Status.SKIPPED:
            return str(said["reason"])
    return None


def why_unusable(backend: str, without: Collection[str] = ()) -> str | None:
    """Why this machine cannot run a backend, by guard's facts; tools in `without` are not needed for the work.

    Raises ToolError for a wrong version.
    """
    facts = read_json(layout.host(backend))
    for tool, wrong in facts["wrong"].items():
        raise ToolError(f"{tool}: {wrong}", where=f"backend {backend}", hint=f"run: {facts['install']}")
    return str(facts["reason"]) if set(facts["missing"]) - set(without) else None
