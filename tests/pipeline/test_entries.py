"""A stage sees its own entry and nothing else, and what decides its result is in the file it depends on."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields

import pytest

from pipeline.errors import ArtifactError
from pipeline.harness.stages import STAGES
from pipeline.records import StageRecord
from pipeline.rows import Row
from pipeline.strict import plain, read
from tests.support.project import Project

KEYS = {
    "models": "local",
    "exports": "local_onnxruntime_fp32",
    "builds": "local_int4_onnxruntime",
    "cells": "local_int4_onnxruntime_cpu",
}
PLANNED = {name: stage for name, stage in STAGES.items() if stage.group in KEYS}  # the search's: test_fit.py


def test_every_stage_runs_on_its_inputs_alone(copy: Project) -> None:
    """Without params.yaml and conf/, on an entry of exactly the fields that the stage declares."""
    (copy.root / "params.yaml").unlink()
    (copy.root / "conf").rename(copy.root / "conf.away")
    for name, stage in PLANNED.items():
        key = KEYS[stage.group]
        entry = copy.json(f"inputs/{name}/{key}.json")["entry"]
        known = {field.name: field.default is MISSING for field in fields(stage.entry)}
        assert {field for field, needed in known.items() if needed} <= set(entry) <= set(known)
        done = copy.stage(name, key)
        assert done.returncode == 0, f"{name}: {done.stderr}"
    rest = {path.name for path in (copy.root / "inputs").iterdir()} - set(PLANNED)
    assert rest == {"report.json"} and copy.stage("report").returncode == 0


@pytest.mark.parametrize("stage", PLANNED)
def test_an_entry_with_another_field_or_without_one_is_refused(copy: Project, stage: str) -> None:
    path = copy.root / f"inputs/{stage}/{KEYS[STAGES[stage].group]}.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    first = next(iter(whole["entry"]))
    for entry, message in (
        ({**whole["entry"], "surprise": 1}, "unknown field 'surprise'"),
        ({name: value for name, value in whole["entry"].items() if name != first}, f"there is no field '{first}'"),
    ):
        path.write_text(json.dumps({**whole, "entry": entry}), encoding="utf-8")
        done = copy.stage(stage, path.stem)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("override", "changes"),
    [
        ("target.cpu.device=cuda", {"package", "benchmark"}),
        ("target.cpu.run=carefully", {"package"}),
        (
            "+backend.onnxruntime.recipes.int4.default.calibration_windows=16",
            {"quantize", "package"},
        ),  # the same bytes, said
        ("backend.onnxruntime.card.library=other", {"package"}),
        ("seed=1", set()),
    ],
)
def test_what_a_stage_writes_of_the_config_is_among_its_inputs(copy: Project, override: str, changes: set[str]) -> None:
    def inputs() -> dict[str, object]:
        return {name: copy.json(f"inputs/{name}/{KEYS[stage.group]}.json") for name, stage in PLANNED.items()}

    before = inputs()
    copy.compose(override)
    assert copy.stage("guard").returncode == 0
    assert {name for name, said in inputs().items() if said != before[name]} == changes


def test_the_seed_is_among_the_inputs_of_what_draws(project: Project) -> None:
    project.compose("backend=[mlx]", "precision=[int4-dwq,int4-b64]", "target=[apple-silicon]", "seed=3")
    assert project.stage("guard").returncode == 0
    settings = {
        name: project.json(f"inputs/quantize/local_{name}_mlx.json")["entry"]["recipe"]["settings"]
        for name in ("int4-dwq", "int4-b64")
    }
    assert settings["int4-dwq"]["seed"] == 3 and "seed" not in settings["int4-b64"]


def test_a_changed_device_reaches_the_packages_manifest(copy: Project) -> None:
    copy.compose("target.cpu.device=cuda")
    copy.repro()
    assert copy.json("packages/local_int4_onnxruntime_cpu/manifest.json")["cell"]["device"] == "cuda"


def test_rows_and_records_are_read_as_strictly_as_they_are_written(finished: Project) -> None:
    rows = finished.json("reports/cells.json")
    assert plain([read(Row, row) for row in rows]) == rows
    record = finished.json("records/package/local_int4_onnxruntime_cpu.json")
    assert plain(read(StageRecord, record)) == record
    with pytest.raises(ArtifactError, match="there is no field 'metrics.kl_nats_mean'"):
        read(Row, {**rows[0], "metrics": {k: v for k, v in rows[0]["metrics"].items() if k != "kl_nats_mean"}})
    with pytest.raises(ArtifactError, match=r"'noisy' is 'yes', not bool"):
        read(Row, {**rows[0], "noisy": "yes"})
