"""What the plan says: an entry per model, export, build and cell, and in it what each stage receives.

A stage receives the dataclass of its own name and nothing else: guard writes it to `inputs/<stage>/<key>.json`, on
which the stage depends, so that nothing decides a result unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pipeline.types import JSON, Family, Recipe

GROUPS = ("models", "exports", "builds", "cells", "sensitivities", "variants", "fits")  # of the plan's entries


@dataclass(frozen=True)
class Fetch:
    """A checkpoint: a folder, or a hub id at a revision."""

    path: str
    repo: str
    revision: str
    trust_remote_code: bool


@dataclass(frozen=True)
class Reference:
    """On which text and questions transformers is run; `weights` is the folder of the shards."""

    weights: str
    text: str
    questions: str
    window: int
    tokens: int
    max_questions: int
    decode_prompts: int
    decode_tokens: int
    trust_remote_code: bool


@dataclass(frozen=True)
class Convert:
    """A backend's input form, and the values of config.json's fields that it computes (`honours`).

    `without` names tools that converting does not need.
    """

    model: str
    backend: str
    weights: str
    form: Mapping[str, Any]
    honours: Mapping[str, tuple[Any, ...]]
    requires: Mapping[str, str]
    without: tuple[str, ...]


@dataclass(frozen=True)
class CalibrationText:
    """The text whose first windows, of `window` tokens, calibrate a recipe."""

    text: str
    window: int


@dataclass(frozen=True)
class Quantize:
    """An export under a recipe."""

    model: str
    backend: str
    export: str
    weights: str
    recipe: Recipe
    calibration: CalibrationText | None


@dataclass(frozen=True)
class Sensitivity:
    """What an error in each matrix costs, on the first `windows` of a text; `way` is rounding, noise or fisher."""

    weights: str
    text: CalibrationText
    windows: int
    way: str
    seed: int


@dataclass(frozen=True)
class Variants:
    """What each format of each matrix takes and loses on a backend: `formats` of `embedding`, `lm_head`, `layers`."""

    model: str
    backend: str
    weights: str
    form: Mapping[str, Any]
    formats: Mapping[str, tuple[str, ...]]
    text: CalibrationText
    windows: int


@dataclass(frozen=True)
class Fit:
    """The formats of a build, within `bounds` (names and units of gates), in at most `builds` builds.

    They are measured on `windows` of the reference; 0 is all.
    """

    model: str
    backend: str
    export: str
    weights: str
    variants: str
    recipe: Recipe
    calibration: CalibrationText
    bounds: Mapping[str, float]
    windows: int
    builds: int


@dataclass(frozen=True)
class Evaluate:
    """How much of the reference a build is held against; 0 windows or questions are all. `family` as of its recipe."""

    model: str
    backend: str
    weights: str
    family: Family
    decode_tokens: int
    windows: int
    questions: int


@dataclass(frozen=True)
class Package:
    """A build for a target: what its manifest and card say, and what is written into it (`options`).

    Its quality is said of the first `windows` and `questions`, which all cells of the target have; 0 is all.
    """

    model: str
    backend: str
    build: str
    weights: str
    precision: str
    recipe: Recipe
    target: str
    device: str
    license: str
    source: str
    library: str
    tags: tuple[str, ...]
    windows: int
    questions: int
    options: Mapping[str, Any]
    run: str


@dataclass(frozen=True)
class Benchmark:
    """How speed is measured, on which device (empty: the CPU)."""

    backend: str
    device: str
    prompt_tokens: int
    new_tokens: int
    warmup: int
    runs: int
    threads: int
    busy_load: float


@dataclass(frozen=True)
class ModelEntry:
    """`source`, `weights`, `text` and `questions` are paths on which stages depend."""

    source: str
    weights: str
    text: str
    questions: str
    fetch: Fetch
    reference: Reference


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
        """What params.yaml has of it: the strings that dvc.yaml's templates fill in."""
        groups = {name: getattr(self, name) for name in GROUPS}
        return {name: {key: _strings(entry) for key, entry in group.items()} for name, group in groups.items()}


def _strings(entry: Any) -> dict[str, str]:
    pairs = ((each.name, getattr(entry, each.name)) for each in fields(entry) if each.name != "shown")
    return {name: value for name, value in pairs if isinstance(value, str)}
