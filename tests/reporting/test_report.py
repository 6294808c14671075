"""The files of reports/: what they show, and that writing them again changes nothing."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.reporting.choice import recommend
from pipeline.reporting.pictures.draw import draw
from pipeline.reporting.report import write_report
from pipeline.strict import plain
from tests.reporting.matrix import Matrix
from tests.support.plans import LOOKS

FILES = {
    "cells.json",
    "index.html",
    "summary.md",
    "quality_size.csv",
    "speed_quality.csv",
    "quality_size.png",
    "speed_quality.png",
}
COLOURS = {name: look.colour for name, look in LOOKS.items()}
AGAIN = """
import json, sys
from pathlib import Path
from pipeline.planned import Plan
from pipeline.reporting.report import write_report
from pipeline.strict import read
write_report(read(Plan, json.loads(Path("plan.json").read_text())), Path())
assert "matplotlib" not in sys.modules and "numpy" not in sys.modules
"""


def state(matrix: Matrix) -> dict[str, tuple[int, bytes]]:
    files = [path for path in (matrix.root / "reports").rglob("*") if path.is_file()]
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in files}


def test_the_report_has_all_its_files(four: Matrix) -> None:
    write_report(four.plan, four.root)
    assert set(state(four)) == FILES | {"metrics.json"}  # which lies in git, not in DVC's cache


def test_a_second_report_writes_nothing_and_imports_no_plotting(four: Matrix) -> None:
    write_report(four.plan, four.root)
    before = state(four)
    (four.root / "plan.json").write_text(json.dumps(plain(four.plan)))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", AGAIN], cwd=four.root, env=environment, check=True)
    assert state(four) == before


def test_the_same_results_give_the_same_bytes_anywhere(four: Matrix) -> None:
    write_report(four.plan, four.root)
    first = state(four)
    for path in list((four.root / "reports").rglob("*.*")):
        path.unlink()
    write_report(four.plan, four.root)
    assert {name: data for name, (_, data) in state(four).items()} == {name: d for name, (_, d) in first.items()}


def test_pictures_carry_no_program_and_no_date(four: Matrix) -> None:
    write_report(four.plan, four.root)
    for name in ("quality_size.png", "speed_quality.png"):
        data = (four.root / "reports" / name).read_bytes()
        assert data.startswith(b"\x89PNG") and b"Software" not in data and b"tIME" not in data


def test_a_picture_is_drawn_again_when_its_points_change(four: Matrix) -> None:
    write_report(four.plan, four.root)
    before = state(four)
    four.run("phi-tiny_int4_onnxruntime_cpu", decode_tokens_per_s=99.0)  # and still another is shipped
    write_report(four.plan, four.root)
    after = state(four)
    assert after["speed_quality.png"] != before["speed_quality.png"]
    assert after["quality_size.png"] == before["quality_size.png"]


def test_files_linked_read_only_into_a_cache_are_replaced_not_written_through(four: Matrix) -> None:
    write_report(four.plan, four.root)
    cached = {}
    for name in FILES:
        path, link = four.root / "reports" / name, four.root / f"cached-{name}"
        os.link(path, link)
        path.chmod(0o444)
        cached[link] = link.read_bytes()
    four.run("phi-tiny_int4_onnxruntime_cpu", kl_nats_mean=3e-3, decode_tokens_per_s=1.0)
    write_report(four.plan, four.root)
    for link, content in cached.items():
        assert link.read_bytes() == content
        assert (four.root / "reports" / link.name.removeprefix("cached-")).read_bytes() != content


def test_the_metrics_file_says_what_to_ship_with_the_measured_figures_alone(four: Matrix) -> None:
    four.benchmark("phi-tiny_int4_onnxruntime_cpu", status="skipped", reason="no device")
    rows = write_report(four.plan, four.root)
    metrics = json.loads((four.root / "reports/metrics.json").read_text())
    shipped = next(row for row in rows if row.id == recommend(rows, "cpu").choice)
    assert metrics["cells_ok"] == 4 and metrics["cpu"]["ship"] == "int4 onnxruntime"
    assert metrics["cpu"]["size_mb"] == 3.3 and metrics["cpu"]["kl_nats"] == shipped.metrics.kl_nats_mean_common
    assert "tokens_per_s" not in metrics["cpu"] and None not in metrics["cpu"].values()


def test_a_speed_of_a_busy_machine_is_a_metric_of_its_own(four: Matrix) -> None:
    write_report(four.plan, four.root)
    quiet = json.loads((four.root / "reports/metrics.json").read_text())["cpu"]
    for path in (four.root / "artifacts/benchmarks").glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"noisy": True}))
    write_report(four.plan, four.root)
    busy = json.loads((four.root / "reports/metrics.json").read_text())["cpu"]
    assert quiet["tokens_per_s"] == busy["noisy_tokens_per_s"] == 410.0
    assert "noisy_tokens_per_s" not in quiet and "tokens_per_s" not in busy


def test_the_summary_says_when_and_at_which_commit_and_stays_where_that_alone_changes(four: Matrix) -> None:
    for command in (("init", "-q"), ("config", "user.email", "a@b"), ("config", "user.name", "t")):
        subprocess.run(["git", *command], cwd=four.root, check=True)
    subprocess.run(["git", "commit", "-qm", "one", "--allow-empty"], cwd=four.root, check=True)
    write_report(four.plan, four.root)
    path = four.root / "reports/summary.md"
    first = path.read_text()
    assert re.search(r"^Written 20\d\d-\d\d-\d\d, commit [0-9a-f]{40}", first, re.MULTILINE)
    subprocess.run(["git", "commit", "-qm", "two", "--allow-empty"], cwd=four.root, check=True)
    write_report(four.plan, four.root)
    assert path.read_text() == first


def test_the_metrics_file_has_at_most_thirty_columns(matrix: Matrix) -> None:
    for number in range(12):
        matrix.run(matrix.add("int4", target=f"device-{number}"))
    write_report(matrix.plan, matrix.root)
    metrics = json.loads((matrix.root / "reports/metrics.json").read_text())
    columns = [name for held in metrics.values() for name in (held if isinstance(held, dict) else [held])]
    assert len(metrics) == 13 and len(columns) <= 30


def test_dvc_shows_a_row_of_metrics_and_its_plots(four: Matrix) -> None:
    write_report(four.plan, four.root)
    template = Path(__file__).parents[2] / "pipeline/reporting/pictures/cells.vega.json"
    plot = {
        "template": str(template),
        "x": {"reports/quality_size.csv": "size_bytes"},
        "y": {"reports/quality_size.csv": "kl_nats_mean_common"},
    }
    definition = {"metrics": ["reports/metrics.json"], "plots": [{"quality": plot}]}
    (four.root / "dvc.yaml").write_text(json.dumps(definition))

    def dvc(*arguments: str) -> str:
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, cwd=four.root, env=environment, check=True, capture_output=True, text=True)
        return done.stdout

    dvc("init", "-q", "--no-scm")
    shown = json.loads(dvc("metrics", "show", "--json"))[""]["data"]
    assert shown["reports/metrics.json"]["data"]["cpu"]["log10_kl"] == -8.92
    dvc("plots", "show", "-o", "html")
    page = (four.root / "html/index.html").read_text()
    assert page.count("phi-tiny_int4_onnxruntime_cpu") == 1 and '"type": "log"' in page


def test_plots_list_only_measured_cells_and_keep_their_header(four: Matrix) -> None:
    four.benchmark("phi-tiny_int4_onnxruntime_cpu", status="skipped", reason="no device")
    write_report(four.plan, four.root)
    with (four.root / "reports/speed_quality.csv").open() as file:
        assert [row["option"] for row in csv.DictReader(file)] == ["fp32", "fp16", "int8"]
    four.plan.cells.clear()
    write_report(four.plan, four.root)
    assert (four.root / "reports/speed_quality.csv").read_text().startswith("cell,model,option,precision")


@pytest.mark.parametrize("divergence", [0.0, 1e-9, 1e-2])
def test_one_cell_of_any_divergence_can_be_drawn(matrix: Matrix, divergence: float) -> None:
    matrix.run(matrix.add("fp32"), kl_nats_mean=divergence)
    write_report(matrix.plan, matrix.root)
    assert (matrix.root / "reports/quality_size.png").stat().st_size > 5000


def test_without_figures_the_pictures_say_so(matrix: Matrix) -> None:
    matrix.add("fp32")
    write_report(matrix.plan, matrix.root)
    assert (matrix.root / "reports/quality_size.png").is_file()


def test_a_killed_write_leaves_the_old_picture(four: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = write_report(four.plan, four.root)
    before = state(four)
    rows = [replace(first, metrics=replace(first.metrics, size_bytes=1)), *others]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        draw(rows, COLOURS, four.root / "reports")
    assert state(four) == before
