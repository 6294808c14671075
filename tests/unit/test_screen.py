"""What a stage shows: its place, its result in words, a bar on a terminal; what tools print goes apart."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import layout
from pipeline.harness.due import count_due
from pipeline.harness.place import begin, end, place
from pipeline.harness.run import run_stage
from pipeline.harness.screen import Screen
from pipeline.harness.stages import STAGES
from tests.support.project import Project

LINE = "{} of 12 · {} phi-tiny int4 openvino · {} · 0 s\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_has_a_line_where_a_model_is_judged_and_a_terminal_always() -> None:
    for stage, kind, shown in (
        ("evaluate", io.StringIO, True),
        ("quantize", io.StringIO, False),
        ("quantize", Terminal, True),
    ):
        stream = kind()
        screen = Screen(stage, "phi-tiny_int4_openvino", "3 of 12", stream)
        screen.advance(1, 4)
        screen.end("KL 1.4e-3")
        assert (LINE.format(3, stage, "KL 1.4e-3") in stream.getvalue()) == shown


def test_a_bar_has_a_total_a_unit_and_an_estimate() -> None:
    stream = Terminal()
    screen = Screen("evaluate", "phi-tiny_int4_openvino", "3 of 12", stream)
    screen.advance(1, 4)
    screen._bar.refresh()
    screen.close()
    assert "evaluate phi-tiny int4 openvino:  25% 1/4 sequences, 00:00<" in stream.getvalue()


def test_what_tools_print_goes_to_a_log_and_ours_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def work() -> str:
        os.write(1, b"a tool's bar\n")
        subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('a warning\\n')"], check=True)
        return "KL 1.4e-3"

    assert run_stage("evaluate", "phi-tiny_int4_mlx", work) == 0
    shown = capfd.readouterr()
    assert shown.out == "" and shown.err == "evaluate phi-tiny int4 mlx · KL 1.4e-3 · 0 s\n"
    assert layout.log("evaluate", "phi-tiny_int4_mlx").read_text() == "a tool's bar\na warning\n"
    assert run_stage("evaluate", "phi-tiny_int4_mlx", lambda: None) == 0
    assert not layout.log("evaluate", "phi-tiny_int4_mlx").exists()


def test_a_place_counts_what_ended_since_the_run_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place() == ""
    end()
    begin(3, 9)
    assert place() == "1 of 3"
    assert run_stage("fetch", "phi-tiny", lambda: None) == 0
    assert run_stage("guard", "", lambda: None) == 0
    assert place() == "2 of 3"


def test_a_run_with_nothing_to_do_is_counted_as_such_and_says_what_to_ship(copy: Project) -> None:
    from pipeline.harness.inputs import read_plan_inputs

    os.chdir(copy.root)
    plan = read_plan_inputs()
    count = sum(len(getattr(plan, stage.group)) for stage in STAGES.values())
    assert count_due(plan) == (0, count)
    quantize = next(iter(plan.builds))
    (copy.root / layout.inputs("quantize", quantize)).write_text("{}", encoding="utf-8")
    assert count_due(plan) == (4, count)  # with its evaluation, package and benchmark
    done = copy.dvc("repro")
    assert done.returncode == 0, done.stderr
    assert f"guard: {count} stages, nothing to run" in done.stderr
    assert "cpu: " in done.stdout and "Report: reports/index.html" in done.stdout


def test_repro_composes_runs_and_says_what_came_out_without_dvcs_talk(copy: Project) -> None:
    done = copy.pipeline("repro", "suite=smoke", "model=[local]", "model.local.path=models/tiny", "precision=[int4]")
    assert done.returncode == 0, done.stderr
    assert "Running stage" not in done.stdout + done.stderr and "dvc push" not in done.stdout + done.stderr
    assert done.stdout.startswith("1 cell: 1 ok") and done.stdout.count("Report: reports/index.html") == 1


def test_repro_says_why_a_stage_failed(copy: Project) -> None:
    weights = next((copy.root / "models/tiny").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    done = copy.pipeline("repro", "suite=smoke", "model=[local]", "model.local.path=models/tiny", "--json")
    assert done.returncode != 0 and "error: fetch@local: " in done.stderr and "failed to reproduce" in done.stderr
    assert done.stdout.startswith("[")
