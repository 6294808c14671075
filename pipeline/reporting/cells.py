"""One row per cell of the plan: status, figures, and the reason for each figure that is not there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.errors import ArtifactError
from pipeline.files import read_json
from pipeline.matrix.gates import judge
from pipeline.reporting import comparable
from pipeline.reporting.failures import Step, first_failure, steps_of
from pipeline.types import JSON, Status

QUALITY = (
    "perplexity",
    "kl_nats_mean",
    "top1_agreement",
    "perplexity_default_mode",
    "kl_nats_mean_default_mode",
    "top1_agreement_default_mode",
    "task_accuracy",
    "evaluated_tokens",
)
SIZE = ("size_bytes", "bits_per_weight")
SPEED = (
    "load_s",
    "ttft_ms_p50",
    "ttft_ms_p95",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "peak_rss_bytes",
)
METRICS = (*QUALITY, *comparable.METRICS, *SIZE, *SPEED)
SOURCES = {"evaluate": QUALITY, "package": SIZE, "benchmark": SPEED}


def cell_records(plan: Mapping[str, Any], root: Path) -> list[JSON]:
    """The rows, in the plan's order. Files of cells that are no longer planned are not looked at."""
    outcomes = {cell: _read_outcomes(steps_of(cell, plan), root) for cell in plan["cells"]}
    records = {cell: _cell_record(cell, plan, outcomes[cell]) for cell in plan["cells"]}
    for model in dict.fromkeys(record["model"] for record in records.values()):
        _compare([(record, outcomes[cell]["evaluate"]) for cell, record in records.items() if record["model"] == model])
    return list(records.values())


def _compare(cells: list[tuple[JSON, JSON]]) -> None:
    """Add the figures on what all evaluated cells of one model have."""
    measured = [(record, evaluation) for record, evaluation in cells if evaluation["status"] == Status.OK]
    figures = comparable.common_figures([evaluation for _, evaluation in measured])
    for (record, _), found in zip(measured, figures, strict=True):
        record["metrics"] |= {name: value for name, value in found.items() if value is None or math.isfinite(value)}
    for record, _ in cells:
        for name in comparable.METRICS:
            if record["metrics"].setdefault(name, None) is None:
                own = name.removesuffix("_common") if name != "common_tokens" else "evaluated_tokens"
                record["reasons"][name] = record["reasons"].get(own) or "sums per window are missing: evaluate again"
        record["metrics"] = {name: record["metrics"][name] for name in METRICS}


def _cell_record(cell: str, plan: Mapping[str, Any], outcomes: Mapping[str, JSON]) -> JSON:
    entry = plan["cells"][cell]
    package = entry["package"]
    status, reason = _status(outcomes)
    metrics: dict[str, float | int | None] = {}
    reasons: dict[str, str] = {}
    for stage, names in SOURCES.items():
        for name in names:
            metrics[name], why = _figure(name, outcomes[stage])
            if why:
                reasons[name] = why
    packaged = outcomes["package"]
    return {
        "id": cell,
        "model": entry["model"],
        "precision": package["family"],
        "option": package["precision"],
        "shown": package["shown"],
        "backend": entry["backend"],
        "target": package["target"],
        "recipe": package["recipe"],
        "status": status,
        "reason": reason,
        "metrics": metrics,
        "reasons": reasons,
        "extra": outcomes["benchmark"].get("extra") or {},
        "gates": judge(metrics, outcomes["evaluate"].get("reference") or {}, entry["gates"]),
        "package": {key: packaged.get(key) for key in ("path", "size_bytes", "sha256")}
        if packaged["status"] == Status.OK
        else None,
        "measured_on": (outcomes["benchmark"].get("machine") or {}).get("cpu"),
        "noisy": bool(outcomes["benchmark"].get("noisy")),
    }


def _read_outcomes(steps: list[Step], root: Path) -> dict[str, JSON]:
    """What evaluate, package and benchmark left. After a failed step, files are not believed."""
    failure = first_failure(steps, root)
    outcomes: dict[str, JSON] = {}
    failed = ""
    for step in steps:
        if failure and failure[0] == step:
            failed = failure[1]
        if step.stage not in SOURCES:
            continue
        if not failed:
            outcomes[step.stage] = outcome = _read(step, root)
            if step.stage == "benchmark" and outcome["status"] == Status.SKIPPED:
                outcomes[step.stage] = _imported(step.key, outcomes["package"], root) or outcome
            failed = outcome["reason"] if outcome["status"] == Status.FAILED else ""
        else:
            outcomes[step.stage] = {"status": Status.FAILED, "reason": failed}
    return outcomes


def _read(step: Step, root: Path) -> JSON:
    """A step's file with a known status and a reason where one is due."""
    path = root / step.out
    if not path.is_file():
        return {"status": Status.FAILED, "reason": f"not run yet: {step}; run: dvc repro"}
    try:
        outcome = read_json(path)
    except ArtifactError as error:
        return {"status": Status.FAILED, "reason": f"{step}: {error.what}; {error.hint}"}
    if not isinstance(outcome, dict) or outcome.get("status") not in list(Status):
        return {"status": Status.FAILED, "reason": f"{step}: {step.out.as_posix()} has no status"}
    if outcome["status"] != Status.OK:
        given = outcome.get("reason") or "no reason is recorded"
        failed = outcome["status"] == Status.FAILED
        return {"status": outcome["status"], "reason": f"{step} failed: {given}" if failed else given}
    return outcome


def _imported(cell: str, packaged: JSON, root: Path) -> JSON | None:
    """What another device measured on this very package, or None."""
    path = root / layout.imported(cell)
    if not path.is_file() or packaged["status"] != Status.OK:
        return None
    found = read_json(path)
    if found.get("package_sha256") != packaged["sha256"]:
        return None
    return {**found, "status": Status.OK, "reason": ""}


def _status(outcomes: Mapping[str, JSON]) -> tuple[str, str | None]:
    """A cell is ok when it was evaluated and packaged; a device that is not here costs it only the speed."""
    for outcome in outcomes.values():
        if outcome["status"] == Status.FAILED:
            return str(Status.FAILED), outcome["reason"]
    for stage in ("evaluate", "package"):
        if outcomes[stage]["status"] == Status.SKIPPED:
            return str(Status.SKIPPED), outcomes[stage]["reason"]
    return str(Status.OK), None


def _figure(name: str, outcome: JSON) -> tuple[float | int | None, str]:
    """A finite number, or None and why."""
    if outcome["status"] != Status.OK:
        return None, outcome["reason"]
    value = outcome.get(name) if name in SIZE else (outcome.get("metrics") or {}).get(name)
    if value is None:
        return None, (outcome.get("reasons") or {}).get(name) or "not measured"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None, f"not a finite number: {value}"
    return value, ""
