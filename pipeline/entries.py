"""What each stage receives of the plan (`planned`).

A stage receives the dataclass of its own name and nothing else: guard writes it to `inputs/<stage>/<key>.json`, on
which the stage depends, so that nothing decides a result unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.types import Family, Recipe


@dataclass(frozen=True)
class Fetch:
    """A checkpoint: a folder, or a hub id at a revision; `adapter` is a PEFT folder that is merged into it.

    modality: `vision` or `speech` where it is taken with its tower.
    """

    path: str
    repo: str
    revision: str
    trust_remote_code: bool
    adapter: str = ""
    modality: str = ""


@dataclass(frozen=True)
class Reference:
    """On which text, questions and chat tasks transformers is run; `weights` is the folder of the shards.

    With a modality, `text` has rows of picture or sound, question and answer; files are in the folder `questions`.
    """

    weights: str
    text: str
    questions: str
    window: int
    tokens: int
    max_questions: int
    decode_prompts: int
    decode_tokens: int
    trust_remote_code: bool
    tasks: tuple[str, ...] = ()
    max_tasks: int = 0
    task_tokens: int = 256
    modality: str = ""


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
    """The formats of a build, within `bounds` (names and units of gates), in at most `builds` + `exchanges` builds.

    They are measured on `windows` of the reference, or with a modality on as many questions; 0 is all.
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
    exchanges: int
    modality: str = ""


@dataclass(frozen=True)
class Evaluate:
    """How much of the reference a build is held against; 0 of anything is all. `family` as of its recipe.

    With a modality, questions on pictures or sounds are all there is, and `decode_prompts` of them are generated for.
    """

    model: str
    backend: str
    weights: str
    family: Family
    decode_tokens: int
    windows: int
    questions: int
    tasks: int = 0
    modality: str = ""
    decode_prompts: int = 0


@dataclass(frozen=True)
class Package:
    """A build for a target: what its manifest and card say, and what is written into it (`options`).

    Its quality is said of the first `windows`, `questions` and `tasks`, which all cells of the target have; 0 is all.
    adapters: by name, PEFT folders that it has for its runtime to switch.
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
    tasks: int = 0
    modality: str = ""
    adapters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """How speed is measured, on which device (empty: the CPU); with a modality, of the package's example."""

    backend: str
    device: str
    prompt_tokens: int
    new_tokens: int
    warmup: int
    runs: int
    threads: int
    busy_load: float
    modality: str = ""
    more_prompt_tokens: tuple[int, ...] = ()
