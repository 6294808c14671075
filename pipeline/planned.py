"""The plan, written out: an entry per model, export, build and cell, each with what its stages receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pipeline.entries import (
    Benchmark,
    Convert,
    Evaluate,
    Fetch,
    Fit,
    Package,
    Quantize,
    Reference,
    Sensitivity,
    Variants,
)
from pipeline.types import JSON

GROUPS = ("models", "exports", "builds", "cells", "sensitivities", "variants", "fits")  # of the plan's entries


@dataclass(frozen=True)
class ModelEntry:
    """`source`, `weights`, `text`, `questions` and `adapter` are paths on which stages depend."""

    source: str
    weights: str
    text: str
    questions: str
    fetch: Fetch
    reference: Reference
    adapter: str = ""


@dataclass(frozen=True)
class ExportEntry:
    model: str
    backend: str
    weights: str
    convert: Convert


@dataclass(frozen=True)
class BuildEntry:
    """`calibration` and `table` are paths on which quantize depends: a text, a table, or one that is there anyway."""

    model: str
    backend: str
    export: str
    weights: str
    calibration: str
    table: str
    quantize: Quantize
    evaluate: Evaluate


@dataclass(frozen=True)
class SensitivityEntry:
    weights: str
    text: str
    sensitivity: Sensitivity


@dataclass(frozen=True)
class VariantsEntry:
    model: str
    backend: str
    weights: str
    text: str
    variants: Variants


@dataclass(frozen=True)
class FitEntry:
    """`variants` is the table's key."""

    model: str
    backend: str
    export: str
    weights: str
    text: str
    variants: str
    fit: Fit


@dataclass(frozen=True)
class CellEntry:
    """`shown` is what people call the precision; `gates` are bounds that the report judges by."""

    model: str
    backend: str
    build: str
    shown: str
    gates: Mapping[str, float]
    package: Package
    benchmark: Benchmark


@dataclass(frozen=True)
class BackendLook:
    """How a backend appears in the report: the name of its format, and its colour."""

    format: str
    colour: str


@dataclass(frozen=True)
class Plan:
    """The matrix, written out: every entry by its key; `excluded` has the reason of each combination left out.

    `suite` is the preset that it was composed from.
    """

    models: dict[str, ModelEntry]
    exports: dict[str, ExportEntry]
    builds: dict[str, BuildEntry]
    cells: dict[str, CellEntry]
    excluded: dict[str, str]
    backends: dict[str, BackendLook]
    suite: str = ""
    sensitivities: dict[str, SensitivityEntry] = field(default_factory=dict)
    variants: dict[str, VariantsEntry] = field(default_factory=dict)
    fits: dict[str, FitEntry] = field(default_factory=dict)

    def templates(self) -> JSON:
        """What stages/plan.yaml has of it: the strings that dvc.yaml's templates fill in, and its size in words.

        The size is the one parameter of experiments in it: DVC shows all strings of a file that it fills in, but where
        a stage names a key of the file, that key alone.
        """
        groups = {name: getattr(self, name) for name in GROUPS}
        entries = {name: {key: _strings(entry) for key, entry in group.items()} for name, group in groups.items()}
        return {"matrix": f"{len(self.cells)} cells", **entries}


def _strings(entry: Any) -> dict[str, str]:
    pairs = ((each.name, getattr(entry, each.name)) for each in fields(entry) if each.name != "shown")
    return {name: value for name, value in pairs if isinstance(value, str)}
