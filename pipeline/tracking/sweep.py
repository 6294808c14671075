"""What a sweep's files say, as runs: names, params, metrics, tags and artifacts. Imports no MLflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.harness.params import read_params
from pipeline.packaging.manifest import sha256
from pipeline.reporting.choice import recommend
from pipeline.reporting.tables import read_cells
from pipeline.rows import Row
from pipeline.strict import plain
from pipeline.tracking import words
from pipeline.tracking.receipts import Receipts
from pipeline.tracking.store import clean
from pipeline.types import JSON

CARD = "README.md"
SUMMARY = "summary.md"
MEGABYTE = 1_000_000
LONGEST_PARAM = 6000  # characters, MLflow's limit
LONGEST_TAG = 5000  # characters, the limit of older servers
REGISTERED = ("kl_nats_mean", "top1_agreement", "size_mb", "bits_per_weight", "decode_tokens_per_s")
FORM = 2  # how a cell is told: a run of another form is another run


@dataclass(frozen=True)
class CellRun:
    """A cell as a run. `package` is the folder to upload, None where there is none or it is too large.

    `verdict` are tags of how it is judged: they may change under a run that stays. `content` is a digest of the package
    with its card: what is there already is not uploaded again.
    """

    name: str
    fingerprint: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    verdict: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    package: Path | None = None
    content: str = ""


@dataclass(frozen=True)
class Winner:
    """The cell to ship to a target: a version of the registered model `name`, with the target as its alias.

    Without a cell, nothing passes its gates: the target's alias goes. `note` describes the version, `about` the model.
    """

    name: str
    target: str
    cell: str
    tags: Mapping[str, str]
    note: str = ""
    about: str = ""


@dataclass(frozen=True)
class Sweep:
    """All cells of a suite. The fingerprint is a digest of the cells' own, in whatever order.

    The `verdict`, a digest of gates and winners, changes without any cell being measured anew; `told` are the parent's
    tags of it.
    """

    suite: str
    experiment: str
    cells: tuple[CellRun, ...]
    files: tuple[Path, ...]
    models: tuple[str, ...] = ()
    told: Mapping[str, str] = field(default_factory=dict)
    winners: tuple[Winner, ...] = ()
    fingerprint: str = field(init=False)
    verdict: str = field(init=False)

    def __post_init__(self) -> None:
        own = [self.suite, sorted((cell.name, cell.fingerprint) for cell in self.cells)]
        object.__setattr__(self, "fingerprint", _digest(own))
        judged = [sorted(cell.verdict.items()) for cell in self.cells]
        won = sorted((winner.name, winner.target, winner.cell, winner.note) for winner in self.winners)
        object.__setattr__(self, "verdict", _digest([self.fingerprint, judged, won, sorted(self.told.items())]))

    def missing(self, receipts: Receipts) -> bool:
        """Whether a run, or what is said of the runs, is not delivered yet."""
        runs = any(cell.fingerprint not in receipts for cell in self.cells)
        return runs or self.fingerprint not in receipts or receipts.verdict != self.verdict

    @property
    def name(self) -> str:
        """Of the parent run, without what changed."""
        return f"{', '.join(self.models)} · {self.suite}"


def read_sweep(root: Path) -> Sweep:
    """Read reports/, packages/ and params.yaml below `root`. Raises PipelineError where one is missing or broken."""
    params = read_params(root / layout.PARAMS)
    rows = read_cells(root / layout.CELLS)
    suite, experiment = str(params["suite"]), str(params["track"]["experiment"])
    largest = params["track"]["max_package_mb"] * MEGABYTE
    reports = root / layout.REPORTS
    files = [reports / SUMMARY, root / layout.CELLS, *sorted(reports.glob("*.png"))]
    winners = tuple(_winners(rows, experiment))
    ships: dict[str, list[str]] = {}
    for winner in winners:
        ships.setdefault(winner.cell, []).append(winner.target)
    return Sweep(
        suite=suite,
        experiment=experiment,
        cells=tuple(_cell(row, suite, largest, root, ships.get(row.id, [])) for row in rows),
        files=tuple(path for path in files if path.is_file()),
        models=tuple(dict.fromkeys(row.model for row in rows)),
        told=_told(rows, winners, reports / SUMMARY),
        winners=winners,
    )


def _told(rows: Sequence[Row], winners: Sequence[Winner], summary: Path) -> dict[str, str]:
    """The parent's tags: how many cells stand how, what to ship where, and the description."""
    chosen = [row for winner in winners for row in rows if row.id == winner.cell]
    text = summary.read_text(encoding="utf-8") if summary.is_file() else ""
    kept = "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith("![")
    )  # pictures are artifacts
    note = clean("\n".join(part for part in (words.winners(chosen), kept) if part))[:LONGEST_TAG]
    tags = {"cells": words.standing(rows)} | ({"mlflow.note.content": note} if note else {})
    several = len({row.model for row in rows}) > 1
    for row in chosen:
        key = f"winner.{row.model}.{row.target}" if several else f"winner.{row.target}"
        tags[key] = f"{words.name_of(row)} · {words.line(row)}"
    return tags


def _winners(rows: list[Row], experiment: str) -> Iterator[Winner]:
    """What to ship of each model to each target that has gates."""
    for model, target in dict.fromkeys((row.model, row.target) for row in rows if row.gates):
        choice = recommend([row for row in rows if row.model == model], target)
        if not choice.choice or not choice.package:
            yield Winner(f"{experiment}.{model}", target, "", {})
            continue
        row = next(row for row in rows if row.id == choice.choice)
        told = words.figures(row.metrics)
        figures = {name: f"{told[name]:g}" for name in REGISTERED if name in told}
        tags = {
            **_axes(row),
            **figures,
            **words.gate_tags(choice.gates),
            "package_sha256": choice.package.sha256,
            "package_path": choice.package.path,
            "rests_on": choice.rests_on,
        }
        about = f"{model} for devices, by phi-deploy: a version is a package, an alias the target it is for."
        note = f"{words.note(row)}\nchosen for {target} by {choice.rests_on}\n"
        yield Winner(f"{experiment}.{model}", target, choice.choice, tags, clean(note)[:LONGEST_TAG], about)


def _cell(row: Row, suite: str, largest: float, root: Path, ships: Sequence[str]) -> CellRun:
    folder = root / row.package.path if row.package else None
    files = [folder / layout.MANIFEST, folder / CARD] if folder else []
    files = [path for path in files if path.is_file()]
    small = bool(row.package and row.package.size_bytes <= largest)
    settings = _params(row, suite)
    judged = {**words.gate_tags(row.gates), "mlflow.note.content": words.note(row)}
    if ships:
        judged["ships_to"] = ", ".join(ships)
    hashes = {path.name: sha256(path) for path in files}
    went_in = {
        "form": FORM,
        "record": {name: held for name, held in plain(row).items() if name != "gates"},
        "params": settings,
        "artifacts": hashes,
        "package": small,
    }
    return CellRun(
        name=row.id,
        fingerprint=_digest(went_in),
        status=str(row.status),
        params=settings,
        metrics={**words.figures(row.metrics), **(row.harness or {})},
        tags=_tags(row, suite),
        verdict={name: clean(text)[:LONGEST_TAG] for name, text in judged.items()},
        files=tuple(files),
        package=folder if folder and small and folder.is_dir() else None,
        content=hashes.get(layout.MANIFEST, ""),
    )


def _axes(row: Row) -> dict[str, str]:
    """As runs are compared: `precision` is the option's name, `family` what a column of the report is called."""
    return {
        "model": row.model,
        "precision": row.option,
        "family": row.precision,
        "backend": row.backend,
        "target": row.target,
        "recipe": row.recipe,
    }


def _tags(row: Row, suite: str) -> dict[str, str]:
    tags = {
        "id": row.id,
        **_axes(row),
        "status": row.status,
        "reason": row.reason,
        "suite": suite,
        "package_sha256": row.package.sha256 if row.package else None,
        "package_size_bytes": row.package.size_bytes if row.package else None,
        "noisy": row.noisy or None,
        "not_measured": json.dumps(row.reasons, ensure_ascii=False) if row.reasons else None,
    }
    return {name: clean(_text(value))[:LONGEST_TAG] for name, value in tags.items() if value is not None}


def _params(row: Row, suite: str) -> dict[str, str]:
    """The settings that made this cell, flat: `quantize.settings.bits`. Empty ones are left out."""
    flat: JSON = {**_axes(row), "suite": suite}
    for group, settings in row.settings.items():
        flat |= {f"{group}.{name}": value for name, value in _flat(settings)}
    return {name: clean(_text(value))[:LONGEST_PARAM] for name, value in flat.items() if value not in (None, "")}


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", deep) for inner, deep in _flat(value))
        else:
            yield str(name), value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)  # true, 0.5, [1, 2]: as in params.yaml


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
