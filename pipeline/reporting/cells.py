"""One row per cell of the plan: status, figures, and the reason for each figure that is not there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from pipeline import layout
from pipeline.entries import Package
from pipeline.errors import ArtifactError
from pipeline.files import read_json
from pipeline.harness.outcome import read_result
from pipeline.harness.stages import STAGES, Stage, way_of
from pipeline.matrix.gates import judge
from pipeline.metrics.shared import reference_on, shared_sums
from pipeline.packaging.tasks_file import attached
from pipeline.planned import CellEntry, Plan
from pipeline.records import (
    Benchmark,
    BenchmarkFile,
    Evaluation,
    Measured,
    Outcome,
    Packaged,
    Quality,
    ReferenceFigures,
    Speed,
)
from pipeline.reporting.comparable import common_figures, why_missing
from pipeline.reporting.failures import first_failure
from pipeline.rows import Common, Figures, PackageRef, Row, Size
from pipeline.strict import plain, read
from pipeline.types import Status

Result = TypeVar("Result", bound=Outcome)
QUALITY, COMMON, SIZE, SPEED = ([field.name for field in fields(kind)] for kind in (Quality, Common, Size, Speed))
METRICS = tuple(field.name for field in fields(Figures))


@dataclass(frozen=True)
class Results:
    """What evaluate, package and benchmark left of a cell; where one is not ok, an Outcome with the reason."""

    evaluation: Evaluation | Outcome
    packaged: Packaged | Outcome
    speed: Measured | Outcome

    @property
    def outcomes(self) -> Iterator[Outcome]:
        return (found for found in (self.evaluation, self.packaged, self.speed) if isinstance(found, Outcome))


def cell_rows(plan: Plan, root: Path) -> list[Row]:
    """The rows, in the plan's order. Files of cells that are no longer planned are not looked at."""
    results = {cell: _read_results(cell, plan, root) for cell in plan.cells}
    return [_row(cell, plan, found, root) for cell, found in results.items()]


def _row(cell: str, plan: Plan, results: Results, root: Path) -> Row:
    entry, package = plan.cells[cell], plan.cells[cell].package
    figures, reasons = _figures(results, package)
    status, reason = _status(results)
    evaluation, packaged, speed = results.evaluation, results.packaged, results.speed
    measured = speed if isinstance(speed, Measured) else None
    judged = evaluation if isinstance(evaluation, Evaluation) else None
    return Row(
        id=cell,
        model=entry.model,
        precision=str(package.recipe.family),
        option=package.precision,
        shown=entry.shown,
        backend=entry.backend,
        target=package.target,
        recipe=package.recipe.name,
        status=status,
        reason=reason,
        metrics=figures,
        reasons=reasons,
        extra=measured.extra if measured else {},
        gates=judge(figures, _reference(evaluation, package), entry.gates),
        package=_package(packaged) if isinstance(packaged, Packaged) else None,
        measured_on=measured.machine.get("cpu") if measured else None,
        noisy=bool(measured and measured.noisy),
        settings={**_settings(entry, plan), **_data(judged)},
        shared=shared_sums(judged, package.windows) if judged else None,
        examples=judged.examples if judged else (),
        tasks=judged.tasks.differences if judged and judged.tasks else (),
        harness=_harness(cell, packaged, root),
        longer=measured.longer if measured else (),
    )


def _harness(cell: str, packaged: Packaged | Outcome, root: Path) -> dict[str, float] | None:
    found = attached(cell, packaged.sha256, root) if isinstance(packaged, Packaged) else None
    return dict(found.figures) if found else None


def _data(judged: Evaluation | None) -> dict[str, dict[str, str]]:
    """The digests of what it was evaluated on."""
    tasks = {"tasks": dict(judged.tasks.data)} if judged and judged.tasks else {}
    return {"data": dict(judged.data) if judged else {}, **tasks}


def _package(held: Packaged) -> PackageRef:
    return PackageRef(held.path, held.size_bytes, held.sha256, held.commit, held.checkpoint, held.run)


def _reference(evaluation: Evaluation | Outcome, package: Package) -> ReferenceFigures | None:
    if not isinstance(evaluation, Evaluation):
        return None
    return reference_on(evaluation, package.windows, package.questions, package.tasks)


def _settings(entry: CellEntry, plan: Plan) -> dict[str, dict[str, Any]]:
    """What the cell was made with, stage by stage; what the row says already, and paths of weights, are left out."""
    build, model = plan.builds[entry.build], plan.models[entry.model]
    recipe = {"form": build.quantize.recipe.form, "method": build.quantize.recipe.method}
    groups = {
        "source": plain(model.fetch),
        "convert": plain(plan.exports[build.export].convert),
        "quantize": {**recipe, "settings": plain(build.quantize.recipe.settings)},
        "evaluate": {**plain(model.reference), **plain(build.evaluate)},
        "package": plain(entry.package),
        "benchmark": plain(entry.benchmark),
    }
    said = ("model", "backend", "weights", "build", "recipe", "target", "precision", "library", "tags")
    return {name: {key: held for key, held in group.items() if key not in said} for name, group in groups.items()}


def _read_results(cell: str, plan: Plan, root: Path) -> Results:
    """After a failed stage, files are not believed."""
    way = way_of(cell, plan)
    failure = first_failure(way, root)
    keys = {stage.name: key for stage, key in way}
    order = [stage.name for stage, _ in way]

    def result(name: str, kind: type[Result]) -> Result | Outcome:
        if failure and order.index(failure.stage) <= order.index(name):
            return Outcome(Status.FAILED, failure.reason)
        return _read(STAGES[name], keys[name], kind, root)

    evaluation = result("evaluate", Evaluation)
    packaged = _after(evaluation, result("package", Packaged))
    speed = _after(packaged, result("benchmark", Benchmark))
    if speed.status is Status.SKIPPED:
        return Results(evaluation, packaged, _imported(cell, packaged, root) or speed)
    return Results(evaluation, packaged, speed)


def _after(earlier: Outcome, found: Result | Outcome) -> Result | Outcome:
    return Outcome(earlier.status, earlier.reason) if earlier.status in (Status.FAILED, Status.NOT_RUN) else found


def _read(stage: Stage, key: str, kind: type[Result], root: Path) -> Result | Outcome:
    """A stage's result, with a reason where one is due."""
    name, path = f"{stage.name}@{key}", root / stage.record(key)
    if not path.is_file():
        return Outcome(Status.NOT_RUN, f"not run here: {name}; run: dvc repro, or dvc pull")
    try:
        found = read_result(kind, path)
    except ArtifactError as error:
        return Outcome(Status.FAILED, f"{name}: {error.what}; {error.hint}")
    if found.status is Status.OK:
        return found
    given = found.reason or "no reason is recorded"
    return Outcome(found.status, f"{name} failed: {given}" if found.status is Status.FAILED else given)


def _imported(cell: str, packaged: Packaged | Outcome, root: Path) -> Measured | None:
    """What another device measured on this very package, or None."""
    path = root / layout.imported(cell)
    if not path.is_file() or not isinstance(packaged, Packaged):
        return None
    found = read(BenchmarkFile, read_json(path), str(path))
    return found if found.package_sha256 == packaged.sha256 else None


def _status(results: Results) -> tuple[Status, str | None]:
    """A cell is ok when it was evaluated and packaged; a device that is not here costs it only the speed."""
    for status in (Status.FAILED, Status.NOT_RUN):
        for found in results.outcomes:
            if found.status is status:
                return found.status, found.reason
    for found in (results.evaluation, results.packaged):
        if found.status is Status.SKIPPED:
            return found.status, found.reason
    return Status.OK, None


def _figures(results: Results, package: Package) -> tuple[Figures, dict[str, str]]:
    """All figures, and the reason of each that is None."""
    evaluation, packaged, speed = results.evaluation, results.packaged, results.speed
    common = common_figures(evaluation, package) if isinstance(evaluation, Evaluation) else None
    own = _known(evaluation, QUALITY, evaluation.metrics if isinstance(evaluation, Evaluation) else None)
    size = _known(packaged, SIZE, packaged if isinstance(packaged, Packaged) else None)
    timed = _known(speed, SPEED, speed.metrics if isinstance(speed, Measured) else None)
    values = {**own[0], **(asdict(common) if common else dict.fromkeys(COMMON)), **size[0], **timed[0]}
    reasons = {**own[1], **size[1], **timed[1]}
    reasons |= {name: why_missing(name, reasons, package) for name in COMMON if values[name] is None}
    return Figures(**{name: values[name] for name in METRICS}), reasons


def _known(outcome: Outcome | Measured, names: Sequence[str], held: object) -> tuple[dict[str, Any], dict[str, str]]:
    """The finite figures called `names` that `held` has, and why the others are not there."""
    values: dict[str, Any] = dict.fromkeys(names)
    if held is None:
        reason = outcome.reason if isinstance(outcome, Outcome) else ""
        return values, dict.fromkeys(names, reason)
    given = outcome.reasons if isinstance(outcome, Evaluation) else {}
    reasons = {}
    for name in names:
        value = getattr(held, name)
        if value is None:
            reasons[name] = given.get(name) or "not measured"
        elif not math.isfinite(value):
            reasons[name] = f"not a finite number: {value}"
        else:
            values[name] = value
    return values, reasons
