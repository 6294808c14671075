"""The stages over the plan: of which group each is, what it receives and leaves, and which code decides its bytes.

`dvc.yaml`s say the same to DVC; tests hold the two against each other. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import entries, layout
from pipeline.errors import ConfigError, suggest

if TYPE_CHECKING:  # every stage's process begins with this file
    from pipeline import planned

MANIFEST, PROCESS = "pipeline/packaging/manifest.py", "pipeline/backends/process.py"
RECORDS, FOUND = "pipeline/records.py", "pipeline/found.py"  # the form of what these stages leave
ANSWERS = "pipeline/answers.py"
OF_ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "README.md")  # README.md has its licence
_MODEL = tuple(
    f"pipeline/model/{name}.py"
    for name in ("architectures", "canonical", "checkpoint", "loading", "rope", "texts", "tokenizer")
)
_SIGHT = tuple(
    f"pipeline/pictures/{name}.py"
    for name in (
        *("__init__", "clip", "conformer", "conformer_layout", "kinds", "media", "parts"),
        *("phi3v", "phi4mm", "processing", "rows", "sound", "tower"),
    )
)
_TRIPLES = ("pipeline/pictures/triples.py",)
_SHARED = tuple(f"pipeline/backends/{name}.py" for name in ("base", "nncf", "request", "texts"))
_CHATS = ("pipeline/model/chats.py", "pipeline/model/side_files.py")
_BACKEND = (
    *("pipeline/backends/{backend}", *_SHARED, "pipeline/model/caches.py", *_CHATS, *_MODEL),
    *("pipeline/calibration", "pipeline/model/layer_by_layer.py"),
    *("pipeline/model/adapter.py", "pipeline/model/lowrank.py", *_SIGHT),
)
_FETCH = (
    *(f"pipeline/model/{name}.py" for name in ("adapted", "adapter", "dimensions", "hub", "licence_files", "lowrank")),
    *(f"pipeline/model/{name}.py" for name in ("merge", "side_files", "switchable", "tensors")),
    "pipeline/packaging/adapters.py",
    *_MODEL,
    *("pipeline/pictures/apart.py", *_SIGHT),
    MANIFEST,
)
_REFERENCE = (
    *("pipeline/model/layer_by_layer.py", "pipeline/metrics/divergence.py", "pipeline/metrics/questions.py"),
    *("pipeline/model/tasks.py", "pipeline/model/greedy.py", "pipeline/model/greedy_by_layer.py"),
    *("stages/reference/pictures.py", "pipeline/model/adapter.py", *_CHATS, *_SIGHT, *_TRIPLES),
    MANIFEST,
)
_PACKAGE = (
    "pipeline/backends/reading.py",
    "pipeline/metrics",
    *(f"pipeline/model/{name}.py" for name in ("adapted", "licence_files", "merge", "switchable", "tensors")),
    *(f"pipeline/packaging/{name}.py" for name in ("adapters", "card", "card_figures")),
    "pipeline/model/licenses.py",
    MANIFEST,
    PROCESS,
    RECORDS,
    ANSWERS,
)


def _nothing(key: str, entry: Any) -> tuple[Path, ...]:
    return ()


def _table(key: str, entry: entries.Quantize) -> tuple[Path, ...]:
    """The search whose table a build is made by."""
    return (layout.fit(key),) if entry.recipe.settings.get("table") == "fit" else ()


@dataclass(frozen=True)
class Stage:
    """A stage over a group of the plan.

    outs: what an entry leaves; the first is a folder with a manifest or a JSON file, and says how the stage ended,
    as do other JSON files.
    after: results of earlier stages; where one was skipped, so is this. code: files, and folders whole, with
    `{backend}` in their names. hides: modules that its process must not import, though they are installed.
    reads: files of its entry that dvc.yaml cannot name, being as many as one likes; guard writes their digests.
    """

    name: str
    group: str
    entry: type
    outs: Callable[[str], tuple[Path, ...]]
    code: tuple[str, ...]
    after: Callable[[str, Any], tuple[Path, ...]] = _nothing
    hides: tuple[str, ...] = ()
    reads: Callable[[Any], tuple[str, ...]] = lambda entry: ()

    def record(self, key: str) -> Path:
        """The JSON file among its results, else the folder: what the report reads."""
        outs = self.outs(key)
        return next((path for path in outs if path.suffix == ".json"), outs[-1])

    def code_of(self, backend: str) -> list[str]:
        """The files and folders of code that decide what it writes for a backend."""
        return [f"stages/{self.name}/{self.name}.py", *(path.format(backend=backend) for path in self.code)]


_ALL = (
    Stage("fetch", "models", entries.Fetch, lambda key: (layout.model(key),), _FETCH),
    Stage(
        "reference",
        "models",
        entries.Reference,
        lambda key: (layout.reference(key),),
        (*_REFERENCE, *_CHATS, *_MODEL),
        reads=lambda entry: entry.tasks,
    ),
    Stage(
        "convert",
        "exports",
        entries.Convert,
        lambda key: (layout.export(key),),
        ("pipeline/matrix/sizes.py", *_BACKEND),
    ),
    Stage(
        "sensitivity",
        "sensitivities",
        entries.Sensitivity,
        lambda key: (layout.sensitivity(key),),
        (
            "pipeline/search/run.py",
            "pipeline/search/sensitivity.py",
            "pipeline/calibration",
            "pipeline/model/layer_by_layer.py",
            FOUND,
            *_MODEL,
        ),
    ),
    Stage(
        "variants",
        "variants",
        entries.Variants,
        lambda key: (layout.variants(key),),
        ("pipeline/search/variants.py", FOUND, *_BACKEND),
    ),
    Stage(
        "fit",
        "fits",
        entries.Fit,
        lambda key: (layout.fit(key),),
        ("pipeline/search", "pipeline/metrics", FOUND, *_TRIPLES, *_BACKEND),
        after=lambda key, entry: (layout.variants(entry.variants), layout.export(entry.export)),
    ),
    Stage(
        "quantize",
        "builds",
        entries.Quantize,
        lambda key: (layout.build(key),),
        (MANIFEST, *_BACKEND),
        after=lambda key, entry: (layout.export(entry.export), *_table(key, entry)),
    ),
    Stage(
        "evaluate",
        "builds",
        entries.Evaluate,
        lambda key: (layout.evaluation(key), layout.scores(key)),
        (
            *("stages/evaluate/pictures.py", "pipeline/metrics", "pipeline/model/tasks.py", *_TRIPLES),
            *(PROCESS, RECORDS, ANSWERS, *_BACKEND),
        ),
        after=lambda key, entry: (layout.build(key),),
        hides=("torch",),  # the runtime's alone: mlx-lm imports transformers, which imports torch wherever it is
    ),
    Stage(
        "package",
        "cells",
        entries.Package,
        lambda key: (layout.package(key), layout.package_record(key)),
        (*_PACKAGE, *_BACKEND),
        after=lambda key, entry: (layout.build(entry.build), layout.evaluation(entry.build)),
        reads=lambda entry: tuple(f"{folder}/{name}" for folder in entry.adapters.values() for name in OF_ADAPTER),
    ),
    Stage(
        "benchmark",
        "cells",
        entries.Benchmark,
        lambda key: (layout.benchmark(key),),
        ("pipeline/backends/speed.py", PROCESS, RECORDS, *_BACKEND),
        after=lambda key, entry: (layout.package_record(key),),
    ),
)
STAGES = {stage.name: stage for stage in _ALL}


def stage_of(name: str) -> Stage:
    """The stage called `name`. Raises ConfigError with a suggestion."""
    if name not in STAGES:
        raise ConfigError(f"there is no stage '{name}'", hint=suggest(name, STAGES))
    return STAGES[name]


def way_of(cell: str, plan: planned.Plan) -> list[tuple[Stage, str]]:
    """The stages a cell goes through, in order, each with its key; it shares all but the last two with other cells."""
    build = plan.cells[cell].build
    keys = {"models": plan.builds[build].model, "exports": plan.builds[build].export, "builds": build, "cells": cell}
    if build in plan.fits:
        keys |= {"sensitivities": keys["models"], "variants": plan.fits[build].variants, "fits": build}
    return [(stage, keys[stage.group]) for stage in _ALL if stage.group in keys]
