"""What a row says, and that it says so only of the present plan and the latest run."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline import layout
from pipeline.reporting.cells import METRICS
from pipeline.reporting.report import write_report
from pipeline.reporting.tables import read_cells
from tests.reporting.matrix import PRECISIONS, SPEED, TASKS, Matrix
from tests.support.plans import measured

pytestmark = pytest.mark.usefixtures("undrawn")


def rows(matrix: Matrix) -> dict[str, Any]:
    made = write_report(matrix.plan, matrix.root)
    assert read_cells(matrix.root / layout.CELLS) == made
    return {row["option"]: row for row in json.loads((matrix.root / layout.CELLS).read_text())}


def test_every_planned_cell_has_a_row_in_the_plans_order(four: Matrix) -> None:
    assert list(rows(four)) == list(PRECISIONS)
    assert all(row["status"] == "ok" and not row["reason"] and not row["reasons"] for row in rows(four).values())


def test_a_row_names_its_axes_its_figures_and_its_package(four: Matrix) -> None:
    row = rows(four)["int4"]
    assert (row["model"], row["precision"], row["backend"], row["target"]) == ("phi-tiny", "int4", "onnxruntime", "cpu")
    assert row["recipe"] == "default" and row["gates"] == [] and row["noisy"] is False
    assert tuple(row["metrics"]) == METRICS
    assert row["metrics"]["kl_nats_mean"] == 2.8e-4 and row["metrics"]["decode_tokens_per_s"] == 410.0
    assert row["package"] == {"path": f"packages/{row['id']}", "size_bytes": 3_300_000, "sha256": "ab" * 32}


def test_a_cell_removed_from_the_plan_leaves_the_report(four: Matrix) -> None:
    rows(four)
    gone = next(cell for cell in four.plan.cells if "int8" in cell)
    del four.plan.cells[gone]
    assert "int8" not in rows(four)
    left = "".join(path.read_text() for path in (four.root / "reports").rglob("*") if path.suffix in (".csv", ".md"))
    assert "int8" not in left
    assert (four.root / layout.benchmark(gone)).is_file()  # its own files stay


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ("fetch", "phi-tiny"),
        ("reference", "phi-tiny"),
        ("convert", "phi-tiny_onnxruntime_fp32"),
        ("quantize", "phi-tiny_int4_onnxruntime"),
    ],
)
def test_a_stage_that_failed_fails_its_cells_whatever_an_earlier_run_left(four: Matrix, stage: str, key: str) -> None:
    four.record(stage, key, "failed", "the tool ended with 1")
    row = rows(four)["int4"]
    assert row["status"] == "failed"
    assert row["reason"] == f"{stage}@{key} failed: the tool ended with 1"
    assert set(row["metrics"].values()) == {None} and row["package"] is None
    assert set(row["reasons"]) == set(METRICS)


def test_what_was_measured_before_the_failed_stage_stays(four: Matrix) -> None:
    four.record("benchmark", "phi-tiny_int4_onnxruntime_cpu", "failed", "it crashed")
    row = rows(four)["int4"]
    assert row["status"] == "failed" and "benchmark@" in row["reason"]
    assert row["metrics"]["kl_nats_mean"] == 2.8e-4 and row["package"]
    assert set(row["reasons"]) == set(SPEED)


def test_a_failure_of_one_build_leaves_the_others_alone(four: Matrix) -> None:
    four.record("quantize", "phi-tiny_int4_onnxruntime", "failed", "no memory")
    assert [row["status"] for row in rows(four).values()] == ["ok", "ok", "ok", "failed"]


def test_a_failure_is_over_once_the_stages_out_is_newer(four: Matrix) -> None:
    """DVC restores an out from its cache without running the stage: the record of the failure stays."""
    key = "phi-tiny_int4_onnxruntime"
    four.record("quantize", key, "failed", "no memory")
    record = four.root / layout.record("quantize", key)
    os.utime(record, ns=(1, 1))
    (four.root / layout.build(key)).mkdir(parents=True)
    assert rows(four)["int4"]["status"] == "ok"


def test_a_cell_that_never_ran_did_not_fail_and_says_what_runs_it(matrix: Matrix) -> None:
    matrix.add("int4")
    row = rows(matrix)["int4"]
    assert row["status"] == "not run"
    assert row["reason"] == "not run here: evaluate@phi-tiny_int4_onnxruntime; run: dvc repro, or dvc pull"


def test_a_backend_that_is_not_installed_skips_its_cells(matrix: Matrix) -> None:
    cell = matrix.add("int4", backend="mlx", target="apple-silicon")
    matrix.skip(cell, "not installed: mlx")
    row = rows(matrix)["int4"]
    assert (row["status"], row["reason"], row["package"]) == ("skipped", "not installed: mlx", None)
    assert set(row["reasons"].values()) == {"not installed: mlx"}


def test_an_absent_device_costs_a_cell_only_its_speed(four: Matrix) -> None:
    four.no_device("phi-tiny_int4_onnxruntime_cpu", "no such device here")
    row = rows(four)["int4"]
    assert row["status"] == "ok" and row["reason"] is None
    assert row["reasons"] == dict.fromkeys(SPEED, "no such device here")
    assert row["metrics"]["decode_tokens_per_s"] is None and row["metrics"]["perplexity"] is not None


def test_a_figure_that_was_not_measured_is_null_with_its_reason(matrix: Matrix) -> None:
    cell = matrix.add("int4")
    matrix.run(cell, kl_nats_mean=None, task_accuracy=None)
    evaluation = {"metrics": {"perplexity": 6.4, "task_accuracy": None}, "reasons": {"task_accuracy": "no questions"}}
    matrix.evaluation(cell, **evaluation)
    row = rows(matrix)["int4"]
    assert row["reasons"]["task_accuracy"] == "no questions"
    assert row["reasons"]["kl_nats_mean"] == "not measured"


def test_nan_and_infinity_never_reach_the_json(matrix: Matrix) -> None:
    matrix.run(matrix.add("int4"), perplexity=float("inf"), kl_nats_mean=float("nan"))
    row = rows(matrix)["int4"]
    assert row["metrics"]["perplexity"] is None and row["metrics"]["kl_nats_mean"] is None
    assert row["reasons"]["perplexity"] == "not a finite number: inf"
    for path in (matrix.root / "reports").rglob("*.json"):
        json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in the report"))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"status": "fine"}'])
def test_a_broken_file_fails_its_cell_and_no_other(four: Matrix, content: str) -> None:
    path = layout.evaluation("phi-tiny_int4_onnxruntime")
    (four.root / path).write_text(content)
    result = rows(four)
    assert result["int4"]["status"] == "failed" and "evaluate@" in result["int4"]["reason"]
    assert result["fp32"]["status"] == "ok"


def test_rows_hold_no_path_outside_the_project(four: Matrix, tmp_path: Path) -> None:
    rows(four)
    (four.root / layout.evaluation("phi-tiny_int4_onnxruntime")).write_text("{")
    rows(four)
    assert str(tmp_path) not in (four.root / layout.CELLS).read_text()


def test_cells_with_fewer_windows_are_compared_on_the_common_ones(matrix: Matrix) -> None:
    """Two windows against one: the fast cell's first window is what stands beside the slow cell's, and is judged."""
    fast, slow = matrix.add("int4"), matrix.add("int4", backend="mlx")
    for cell in (fast, slow):
        matrix.share(cell, windows=1, questions=2, tasks=2)
    matrix.run(fast)
    matrix.run(slow)
    columns = {
        "tokens": [511, 511],
        "nll": [511.0, 2 * 511.0],
        "kl": [5.11, 51.1],
        "top1": [500, 400],
        "delta_p_squares": [5.11, 51.1],
        "kl_max": [0.5, 2.5],
    }
    tails = {name: [0.1, 0.2] for name in ("p50", "p90", "p99", "p999")}
    own = {"perplexity": math.exp(1.5), "kl_nats_mean": 0.055, "top1_agreement": 900 / 1022, "evaluated_tokens": 1022}
    both = {"windows": columns, "windows_default_mode": columns, "tails": tails}
    reference = {"perplexity": 6.0, "task_accuracy": None, "nll": [], "answered_right": [True] * 4, "answers": [0] * 4}
    its = {"reference": reference, "answered_right": [True, True, False, False], "answers": [0, 0, 1, 1]}
    its["tasks"] = TASKS
    matrix.evaluation(fast, metrics=own, **its, **both)
    first = {name: values[:1] for name, values in columns.items()}
    tails = {name: values[:1] for name, values in tails.items()}
    one = {**own, "perplexity": math.e, "kl_nats_mean": 0.01, "top1_agreement": 500 / 511, "evaluated_tokens": 511}
    both = {"windows": first, "windows_default_mode": first, "tails": tails}
    its = {"reference": reference, "answered_right": [True, False], "answers": [0, 1]}
    its["tasks"] = {**TASKS, "passed": [True, False], "ended": [False] * 2, "reference_passed": [True] * 2}
    matrix.evaluation(slow, metrics=one, **its, **both)
    found = {row.backend: row.metrics for row in write_report(matrix.plan, matrix.root)}
    assert found["onnxruntime"].kl_nats_mean == 0.055
    for metrics in found.values():
        assert metrics.common_tokens == 511
        assert metrics.kl_nats_mean_common == pytest.approx(0.01)
        assert metrics.perplexity_common == pytest.approx(math.e)
        assert metrics.top1_agreement_common == pytest.approx(500 / 511)
        assert metrics.flips_common == pytest.approx(11 / 511)
        assert metrics.rms_delta_p_common == pytest.approx(0.1)
        assert (metrics.kl_nats_p999_common, metrics.kl_nats_max_common) == (0.1, 0.5)
        assert metrics.kl_nats_mean_se_common is None  # of one window
    assert found["onnxruntime"].task_accuracy_common == 1.0 and found["mlx"].task_accuracy_common == 0.5
    assert found["onnxruntime"].answer_flips_common == 0.0 and found["mlx"].answer_flips_common == 0.5
    assert found["onnxruntime"].tasks_passed_common == 1.0 and found["mlx"].tasks_passed_common == 0.5
    assert found["onnxruntime"].task_flips_common == 0.0 and found["mlx"].task_flips_common == 0.5
    assert found["mlx"].tasks_never_ended_common == 1.0
    reasons = next(iter(rows(matrix).values()))["reasons"]
    assert "share one window" in reasons["kl_nats_mean_se_common"]
    page = (matrix.root / "reports/summary.md").read_text()
    assert "of the tokens that all cells of a target have (511 for cpu)" in page
    assert "1.0e-2" in page and "5.5e-2" not in page


def test_cells_with_the_same_windows_need_no_note(four: Matrix) -> None:
    rows(four)
    assert "of the tokens that all cells" not in (four.root / "reports/summary.md").read_text()


def test_what_another_device_measured_stands_in_the_row(matrix: Matrix) -> None:
    cell = matrix.add("int4", target="android-arm64")
    matrix.run(cell)
    matrix.no_device(cell, "needs a 64-bit Android phone")
    digest = json.loads((matrix.root / layout.package_record(cell)).read_text())["sha256"]
    origin = {"format": 1, "cell": cell, "backend": "onnxruntime", "device": "", "package_sha256": digest, "sha256": ""}
    speed = measured(metrics={**SPEED, "decode_tokens_per_s": 12.5}, machine={"cpu": "SM8650"})
    foreign = {**origin, **speed}
    matrix.write(layout.imported(cell), foreign)
    row = rows(matrix)["int4"]
    assert row["metrics"]["decode_tokens_per_s"] == 12.5 and row["measured_on"] == "SM8650"
    matrix.write(layout.imported(cell), {**foreign, "package_sha256": "00" * 32})
    row = rows(matrix)["int4"]
    assert row["metrics"]["decode_tokens_per_s"] is None
    assert row["reasons"]["decode_tokens_per_s"] == "needs a 64-bit Android phone"


def test_a_missed_gate_is_an_outcome_that_the_row_states(matrix: Matrix) -> None:
    cell = matrix.add("int4")
    matrix.run(cell, kl_nats_mean=0.2)
    matrix.gate(cell, max_kl_nats=0.1, max_package_mb=4)
    row = rows(matrix)["int4"]
    assert row["status"] == "ok"
    assert [(gate["gate"], gate["passed"]) for gate in row["gates"]] == [
        ("max_kl_nats", False),
        ("max_package_mb", True),
    ]
    page = (matrix.root / "reports/summary.md").read_text()
    assert "misses max_kl_nats 0.2 > 0.1" in page and "Nothing passes its gates" in page
