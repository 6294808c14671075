"""What searches of formats predicted and what was measured, with the fixed recipes beside them: points of a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline import layout
from pipeline.found import Fit
from pipeline.harness.outcome import read_result
from pipeline.planned import Plan
from pipeline.reporting.figures import FLOOR
from pipeline.rows import Row
from pipeline.types import JSON, Family

MB = 1e6


def searched(plan: Plan, rows: Sequence[Row], root: Path) -> list[JSON]:
    """Points of model, backend and build: `kind` is predicted, built (a trial) or recipe; size in MB, KL in nats.

    A build's files beside its weights are added to what is predicted, so that sizes can be compared.
    """
    paths = {build: root / layout.fit(build) for build in plan.fits}
    found = {build: read_result(Fit, path) for build, path in paths.items() if path.is_file()}
    made = {build: fit for build, fit in found.items() if isinstance(fit, Fit)}
    points = [point for build, fit in made.items() for point in _of_search(plan, build, fit)]
    groups = {(plan.fits[build].model, plan.fits[build].backend) for build in made}
    return points + [point for row in rows if (row.model, row.backend) in groups for point in _of_recipe(row)]


def _of_search(plan: Plan, build: str, fit: Fit) -> Iterator[JSON]:
    entry, taken = plan.fits[build], fit.trials[fit.chosen]
    option = next((cell.package.precision for cell in plan.cells.values() if cell.build == build), "fit")
    common = {"model": entry.model, "backend": entry.backend, "build": build}
    beside = taken.build_bytes - taken.weight_bits / 8
    for point in fit.frontier:
        size = (point.weight_bits / 8 + beside) / MB
        yield {**common, "kind": "predicted", "size": size, "kl": max(point.kl_nats_mean, FLOOR), "label": "predicted"}
    for number, trial in enumerate(fit.trials):
        yield {
            **common,
            "kind": "built",
            "size": trial.build_bytes / MB,
            "kl": max(trial.kl_nats_mean, FLOOR),
            "expected": max(trial.predicted, FLOOR),
            "label": option if number == fit.chosen else f"{option}, trial {number + 1}",
            "chosen": number == fit.chosen,
        }


def _of_recipe(row: Row) -> Iterator[JSON]:
    size, kl = row.metrics.size_bytes, row.metrics.kl_nats_mean
    if row.precision != Family.FIT and size is not None and kl is not None:
        held = {"model": row.model, "backend": row.backend, "target": row.target, "kind": "recipe"}
        yield {**held, "size": size / MB, "kl": max(kl, FLOOR), "label": row.option}
