"""What `dvc repro` runs again, and what it does not: on a real run of the smoke suite."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.packaging.manifest import digests
from tests.support.project import Project

CELLS = ["local_fp32_onnxruntime_cpu", "local_int4_onnxruntime_cpu"]


def test_every_cell_is_ok_and_every_figure_there(finished: Project) -> None:
    records = finished.json("reports/cells.json")
    assert [record["id"] for record in records] == CELLS
    for record in records:
        assert record["status"] == "ok", record["reason"]
        assert [gate["gate"] for gate in record["gates"] if gate["passed"] is None] == []
        assert record["reasons"] == {}
        assert all(isinstance(value, int | float) for value in record["metrics"].values()), record["metrics"]
    assert records[0]["gates"] and all(gate["passed"] for gate in records[0]["gates"])
    fp32, int4 = (record["metrics"] for record in records)
    assert fp32["kl_nats_mean"] < 1e-6 < int4["kl_nats_mean"]
    assert fp32["top1_agreement"] == 1.0
    assert int4["size_bytes"] < fp32["size_bytes"] * 0.6  # the embedding stays in fp32
    assert 4 < int4["bits_per_weight"] < 20 < fp32["bits_per_weight"] <= 32.1


def test_a_second_run_runs_guard_and_track_alone(copy: Project) -> None:
    before = (copy.root / "reports/cells.json").read_bytes()
    assert copy.pipeline("report").returncode == 0
    assert copy.repro() == ["guard", "track"]
    assert (copy.root / "reports/cells.json").read_bytes() == before


def test_a_recipe_option_reruns_that_build_and_its_cells_alone(copy: Project) -> None:
    copy.compose("backend.onnxruntime.recipes.int4.default.group_size=64")
    build, cell = "local_int4_onnxruntime", "local_int4_onnxruntime_cpu"
    expected = [f"quantize@{build}", f"evaluate@{build}", f"package@{cell}", f"benchmark@{cell}"]
    assert copy.repro() == ["guard", *expected, "report", "track"]


def test_the_evaluation_text_reruns_evaluation_but_measures_no_speed_again(copy: Project) -> None:
    copy.compose("evaluate.tokens=512")
    ran = copy.repro()
    assert "reference@local" in ran
    assert {name.partition("@")[0] for name in ran} == {"guard", "reference", "evaluate", "package", "report", "track"}
    assert {record["metrics"]["evaluated_tokens"] for record in copy.json("reports/cells.json")} == {4 * 127}


def test_the_evaluators_code_reruns_evaluation(copy: Project) -> None:
    copy.edit("pipeline/metrics/divergence.py", "BLOCK = 2**23", "BLOCK = 2**22")
    names = {name.partition("@")[0] for name in copy.repro()}
    assert {"reference", "evaluate"} <= names
    assert not {"fetch", "convert", "quantize", "benchmark"} & names


def test_a_removed_cell_leaves_the_report_and_comes_back_without_work(copy: Project) -> None:
    copy.compose("precision=[fp32]")
    assert copy.repro() == ["guard", "report", "track"]
    assert [record["id"] for record in copy.json("reports/cells.json")] == CELLS[:1]
    copy.compose()
    assert {name.partition("@")[0] for name in copy.repro()} <= {"guard", "report", "track"}
    assert [record["id"] for record in copy.json("reports/cells.json")] == CELLS


def test_an_added_cell_runs_only_what_is_new(copy: Project) -> None:
    copy.compose("precision=[fp32,int4,int8]")
    ran = copy.repro()
    assert all(name in ("guard", "report", "track") or "_int8_" in name for name in ran), ran
    assert "quantize@local_int8_onnxruntime" in ran


def test_an_edit_of_conf_trips_guard_with_the_command_to_run(copy: Project) -> None:
    copy.edit("conf/config.yaml", "tokens: 20480", "tokens: 4096")
    done = copy.dvc("repro")
    assert done.returncode != 0
    assert "conf/ changed after params.yaml was composed; run: python -m pipeline compose" in done.stderr
    check = copy.pipeline("compose", "--check")
    assert check.returncode == 2 and "run: python -m pipeline compose" in check.stderr
    copy.compose()
    assert copy.pipeline("compose", "--check").returncode == 0


def test_a_plan_edited_by_hand_is_stale(copy: Project) -> None:
    copy.edit("stages/plan.yaml", "export: local_onnxruntime_fp32", "export: local_onnxruntime_fp16")
    done = copy.pipeline("compose", "--check")
    assert done.returncode == 2 and "plan.yaml is not what params.yaml" in done.stderr


def patched_python(folder: Path, code: str) -> dict[str, str]:
    """An environment in which every Python of the run first executes `code`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


HIDE = """
import importlib.metadata as metadata
real = metadata.version
def version(name):
    if name == "onnxruntime-genai":
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
"""


def test_a_missing_tool_skips_its_cells_and_they_run_once_it_is_there(copy: Project, tmp_path: Path) -> None:
    copy.repro(env=patched_python(tmp_path / "hide", HIDE))
    records = copy.json("reports/cells.json")
    assert {record["status"] for record in records} == {"skipped"}
    assert all("not installed: onnxruntime-genai" in record["reason"] for record in records)
    copy.repro()
    assert {record["status"] for record in copy.json("reports/cells.json")} == {"ok"}


def test_a_wrong_tool_version_ends_in_guard(copy: Project, tmp_path: Path) -> None:
    fake = tmp_path / "fake" / "onnxruntime_genai-0.1.0.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-genai\nVersion: 0.1.0\n", encoding="utf-8")
    done = copy.dvc("repro", env={"PYTHONPATH": str(tmp_path / "fake")})
    assert done.returncode != 0
    assert "onnxruntime-genai: 0.1.0 is installed, 0.18.0 is required; run: make install" in done.stderr


def test_another_machine_measures_speed_again_and_nothing_else(copy: Project, tmp_path: Path) -> None:
    env = patched_python(tmp_path / "cores", "import os\nos.cpu_count = lambda: 3\n")
    names = {name.partition("@")[0] for name in copy.repro(env=env)}
    assert names == {"guard", "benchmark", "report", "track"}


def test_an_interpreter_without_the_pins_is_told_which_python_and_what_to_do(project: Project) -> None:
    base = Path(sys.base_prefix) / "bin" / Path(sys.executable).name
    if not base.exists():
        base = Path(shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable)
    done = project.run(
        str(base),
        "-I",
        "-c",
        "import sys; sys.path[:0] = ['.']; sys.argv = ['stages', 'guard'];"
        "import runpy; runpy.run_module('stages', run_name='__main__')",
    )
    assert done.returncode == 1
    assert "lacks " in done.stderr and "source .venv/bin/activate" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_failing_cell_is_reported_and_the_others_finish(copy: Project) -> None:
    (copy.root / "short.txt").write_text("too short", encoding="utf-8")
    copy.compose("precision=[fp32,int8-static]", "evaluate.calibration=short.txt")
    done = copy.dvc("repro", "-k")
    assert done.returncode != 0
    report = copy.pipeline("report")
    assert report.returncode == 1
    fp32, static = copy.json("reports/cells.json")
    assert fp32["status"] == "ok"
    assert static["status"] == "failed"
    assert "quantize" in static["reason"] and "too short for one window" in static["reason"]
    assert "too short for one window" in " ".join(report.stdout.split())
    assert not list((copy.root / "artifacts/builds").glob(".*.partial")), "half a build was left"
    copy.compose("precision=[fp32,int8-static]")
    ran = copy.repro()
    assert ran[1] == "quantize@local_int8-static_onnxruntime"
    assert {record["status"] for record in copy.json("reports/cells.json")} == {"ok"}


@pytest.mark.parametrize("stage", ["convert@", "quantize@local_int4", "package@local_int4"])
def test_a_run_killed_at_any_moment_finishes_the_next_time(copy: Project, stage: str) -> None:
    import os
    import signal
    import subprocess
    import time

    name = stage.partition("@")[0]
    with (copy.root / f"stages/{name}/{name}.py").open("a", encoding="utf-8") as script:
        script.write("# edited\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    child = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=copy.root,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("Running stage '") and f"dvc.yaml:{stage}" in line:
            break
    else:
        pytest.fail(f"{stage} never ran")
    time.sleep(0.7)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    copy.compose()  # sets a half-written dvc.lock aside
    copy.repro()
    assert {record["status"] for record in copy.json("reports/cells.json")} == {"ok"}
    assert not list(copy.root.glob("artifacts/*/.*.partial")) and not list(copy.root.glob("packages/.*.partial"))


def test_a_lock_file_cut_off_by_a_kill_costs_no_work(copy: Project) -> None:
    lock = copy.root / "stages/package/dvc.lock"
    whole = lock.read_text(encoding="utf-8")
    lock.write_text(whole[: whole.rindex("path:") + 5], encoding="utf-8")
    copy.compose()
    assert not lock.exists()
    assert set(copy.repro()) == {"guard", "track"}
    assert lock.exists()


def test_a_large_model_has_the_same_builds_without_an_export_and_the_same_reference_by_layers(copy: Project) -> None:
    builds = sorted(path for path in (copy.root / "artifacts/builds").iterdir() if path.is_dir())
    before = {build.name: digests(build) for build in builds}
    hidden = np.load(copy.root / "artifacts/references/local/hidden.npy")
    copy.edit("pipeline/matrix/sizes.py", "DEFER_ABOVE = 5e8", "DEFER_ABOVE = 0")
    copy.edit("stages/reference/reference.py", "LAYERED_ABOVE = 2e9", "LAYERED_ABOVE = 0")
    ran = {name.partition("@")[0] for name in copy.repro()}
    assert {"reference", "convert", "quantize"} <= ran
    (export,) = (path for path in (copy.root / "artifacts/exports").iterdir() if path.is_dir())
    assert [path.name for path in export.iterdir()] == ["manifest.json"]
    assert {build.name: digests(build) for build in builds} == before
    assert np.abs(np.load(copy.root / "artifacts/references/local/hidden.npy") - hidden).max() < 1e-4
    assert [record["status"] for record in copy.json("reports/cells.json")] == ["ok", "ok"]
