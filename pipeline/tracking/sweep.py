"""What a sweep's files say, as runs: names, params, metrics, tags and artifacts. Imports no MLflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.errors import ArtifactError
from pipeline.files import read_json
from pipeline.harness.params import read_params
from pipeline.packaging.manifest import sha256
from pipeline.reporting.choice import recommend
from pipeline.tracking.store import clean
from pipeline.types import JSON, Status

AXES = ("model", "precision", "family", "backend", "target", "recipe")
CARD = "README.md"
SUMMARY = "summary.md"
MEGABYTE = 1_000_000
LONGEST_PARAM = 6000  # characters, MLflow's limit
LONGEST_TAG = 5000  # characters, the limit of older servers


@dataclass(frozen=True)
class CellRun:
    """A cell as a run. `package` is the folder to upload, None where there is none or it is too large."""

    name: str
    fingerprint: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    files: tuple[Path, ...] = ()
    package: Path | None = None


@dataclass(frozen=True)
class Winner:
    """The cell to ship to a target: a version of the registered model `name`, with the target as its alias."""

    name: str
    target: str
    cell: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Sweep:
    """All cells of a suite. The fingerprint is a digest of the cells' own, in whatever order."""

    suite: str
    experiment: str
    cells: tuple[CellRun, ...]
    files: tuple[Path, ...]
    note: str
    winners: tuple[Winner, ...] = ()
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        won = sorted((winner.name, winner.target, winner.cell) for winner in self.winners)
        own = [self.suite, sorted((cell.name, cell.fingerprint) for cell in self.cells), *([won] if won else [])]
        object.__setattr__(self, "fingerprint", _digest(own))

    def missing(self, known: Container[str]) -> bool:
        return self.fingerprint not in known or any(cell.fingerprint not in known for cell in self.cells)

    def counts(self) -> dict[str, float]:
        """How many cells ended how, for example {"cells_ok": 4}."""
        statuses = [cell.status for cell in self.cells]
        return {f"cells_{status}": float(statuses.count(status)) for status in Status}


def read_sweep(root: Path) -> Sweep:
    """Read reports/, packages/ and params.yaml below `root`. Raises PipelineError where one is missing or broken."""
    params = read_params(root / layout.PARAMS)
    records = read_json(root / layout.CELLS)
    if not isinstance(records, list) or not all(isinstance(record, dict) and "id" in record for record in records):
        raise ArtifactError("not a list of cells", where=str(layout.CELLS), hint="make it: python -m pipeline report")
    reports = root / layout.REPORTS
    files = [reports / SUMMARY, root / layout.CELLS, *sorted(reports.glob("*.png"))]
    summary = reports / SUMMARY
    return Sweep(
        suite=str(params["suite"]),
        experiment=str(params["track"]["experiment"]),
        cells=tuple(_cell(record, params, root) for record in records),
        files=tuple(path for path in files if path.is_file()),
        winners=tuple(_winners(records, str(params["track"]["experiment"]))),
        note=clean(summary.read_text(encoding="utf-8"))[:LONGEST_TAG] if summary.is_file() else "",
    )


def _winners(records: list[JSON], experiment: str) -> Iterator[Winner]:
    """What to ship of each model to each target that has gates."""
    gated = [record for record in records if record.get("gates")]
    for model, target in dict.fromkeys((record["model"], record["target"]) for record in gated):
        choice = recommend([record for record in records if record["model"] == model], target)
        if not choice["choice"]:
            continue
        tags = {
            "package_sha256": str(choice["package"]["sha256"]),
            "package_path": str(choice["package"]["path"]),
            "gates": json.dumps(choice["gates"]),
            "rests_on": choice["rests_on"],
        }
        yield Winner(f"{experiment}.{model}", target, choice["choice"], tags)


def _cell(record: JSON, params: JSON, root: Path) -> CellRun:
    packaged = record.get("package") or {}
    folder = root / packaged["path"] if packaged else None
    files = [folder / layout.MANIFEST, folder / CARD] if folder else []
    files = [path for path in files if path.is_file()]
    small = packaged.get("size_bytes", 0) <= params["track"]["max_package_mb"] * MEGABYTE
    settings = _params(record, params)
    went_in = {
        "record": record,
        "params": settings,
        "artifacts": {path.name: sha256(path) for path in files},
        "package": small and bool(packaged),
    }
    return CellRun(
        name=str(record["id"]),
        fingerprint=_digest(went_in),
        status=str(record["status"]),
        params=settings,
        metrics={name: float(value) for name, value in record["metrics"].items() if value is not None},
        tags=_tags(record, str(params["suite"])),
        files=tuple(files),
        package=folder if folder and small and folder.is_dir() else None,
    )


def _tags(record: JSON, suite: str) -> dict[str, str]:
    packaged = record.get("package") or {}
    tags = {
        **{name: record.get(name) for name in ("id", *AXES, "status", "reason")},
        "suite": suite,
        "package_sha256": packaged.get("sha256"),
        "package_size_bytes": packaged.get("size_bytes"),
        "noisy": record.get("noisy") or None,
        "gates": json.dumps(record["gates"]) if record.get("gates") else None,
        "not_measured": json.dumps(record["reasons"], ensure_ascii=False) if record.get("reasons") else None,
    }
    return {name: clean(_text(value))[:LONGEST_TAG] for name, value in tags.items() if value is not None}


def _params(record: JSON, params: JSON) -> dict[str, str]:
    """The settings that made this cell, flat: `quantize.settings.bits`. Empty ones are left out."""
    plan = params["plan"]
    cell = plan["cells"].get(record["id"], {})
    build = plan["builds"].get(cell.get("build"), {})
    model = plan["models"].get(cell.get("model"), {})
    groups = {
        "source": model.get("fetch", {}),
        "convert": plan.get("exports", {}).get(build.get("export"), {}).get("convert", {}),
        "quantize": build.get("quantize", {}),
        "evaluate": {**model.get("reference", {}), **build.get("evaluate", {})},
        "package": cell.get("package", {}),
        "benchmark": cell.get("benchmark", {}),
    }
    flat = {name: record.get(name) for name in AXES} | {"suite": params["suite"], "seed": params["seed"]}
    for group, settings in groups.items():
        flat |= {f"{group}.{name}": value for name, value in _flat(settings) if name not in AXES}
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
