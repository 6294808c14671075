"""`run`: what `dvc repro` leaves, with several stages at once; on placeholder stages where the tools do not matter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from benchmarks.placeholder import forget
from tests.support.project import SMOKE, Project
from tests.support.sweeps import files, locks, of_stage, started, until

BUILD, CELL = "m001_int4_onnxruntime", "m001_int4_onnxruntime_cpu"


def test_two_at_once_leave_what_one_after_another_leaves(finished: Project, copy: Project) -> None:
    forget(copy.root)
    done = copy.pipeline("run", "-j", "2", *SMOKE)
    assert done.returncode == 0, done.stderr
    assert files(copy.root) == files(finished.root)
    assert locks(copy.root) == locks(finished.root)
    assert done.stdout.startswith("2 cells: 2 ok") and done.stdout.count("Report: reports/index.html") == 1
    assert "Running stage" not in done.stdout + done.stderr
    before = started(copy)
    assert copy.repro() == ["guard", "track"]
    assert copy.pipeline("run").returncode == 0
    assert started(copy) == before


def test_a_failing_stage_takes_what_stands_on_it_and_nothing_else(placeholders: Project) -> None:
    failing = placeholders.root / "failing.json"
    failing.write_text(json.dumps([f"quantize@{BUILD}"]), encoding="utf-8")
    done = placeholders.pipeline("run", "-j", "2", "--json")
    assert done.returncode == 1
    assert f"error: quantize@{BUILD}: quantize@{BUILD} was told to" in done.stderr
    assert f"failed to reproduce quantize@{BUILD}\n" in done.stderr
    assert (
        f"left out, as they stand on what failed: evaluate@{BUILD}, package@{CELL}, benchmark@{CELL}\n" in done.stderr
    )
    rows = {row["id"]: row for row in json.loads(done.stdout)}
    assert rows[CELL]["status"] == "failed" and "was told to" in rows[CELL]["reason"]
    assert rows["m001_fp32_onnxruntime_cpu"]["status"] == "skipped"
    ran = started(placeholders)
    assert "benchmark@m001_fp32_onnxruntime_cpu" in ran and f"evaluate@{BUILD}" not in ran
    assert f"quantize@{BUILD}" not in locks(placeholders.root)
    failing.unlink()
    assert placeholders.pipeline("run").returncode == 0
    again = {name for name, when in started(placeholders).items() if ran.get(name) != when}
    assert again == {f"quantize@{BUILD}", f"evaluate@{BUILD}", f"package@{CELL}", f"benchmark@{CELL}"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_run_that_was_ended_leaves_no_process_and_goes_on(placeholders: Project, number: int, code: int) -> None:
    slow = placeholders.root / "slow.json"
    slow.write_text(json.dumps({"quantize@": 60}), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "pipeline", "run", "-j", "2"]
    with subprocess.Popen(
        command,
        cwd=placeholders.root,
        env={**os.environ, "PATH": path},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        stages = until(lambda: of_stage(child.pid, "quantize"))
        child.send_signal(number)  # to the engine alone: its stages are its own to end
        _, said = child.communicate(timeout=60)
    assert child.returncode == code, said
    until(lambda: not any(stage.is_running() and stage.status() != psutil.STATUS_ZOMBIE for stage in stages))
    if number == signal.SIGINT:
        assert "stages are done and kept; the same command goes on" in said and "Traceback" not in said
        assert "reference@m001" in locks(placeholders.root)
    slow.unlink()
    ran = started(placeholders)
    done = placeholders.pipeline("run", "-j", "2")
    assert done.returncode == 0, done.stderr
    after = started(placeholders)
    assert {name.partition("@")[0] for name in after if ran.get(name) != after[name]} >= {"quantize", "benchmark"}
    assert all(after[name] == ran[name] for name in ("fetch@m001", "reference@m001", "convert@m001_onnxruntime_fp32"))
    assert placeholders.repro() == ["guard", "track"]


def test_what_is_no_number_of_stages_is_said_before_anything_runs(placeholders: Project) -> None:
    done = placeholders.pipeline("run", "-j", "-1")
    assert (done.returncode, done.stderr) == (2, "error: -j -1 is no number of stages\n")
    assert not (placeholders.root / "records").exists()


@pytest.mark.slow
def test_dasks_page_is_named_and_there_while_stages_run(placeholders: Project) -> None:
    (placeholders.root / "slow.json").write_text(json.dumps({"quantize@": 60}), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", "-j", "2", "--dashboard"],
        cwd=placeholders.root,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stderr
        page = next(line for line in child.stderr if line.startswith("dashboard: ")).split()[1]
        until(lambda: of_stage(child.pid, "quantize"))
        with urlopen(page, timeout=30) as answer:
            assert answer.status == 200 and "Dask" in answer.read().decode()
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
