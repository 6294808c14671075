"""The DVC habits of its users: exp run, metrics, push and pull."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from pathlib import Path

from tests.support.project import SMOKE, Project

CELL = "local_int4_onnxruntime_cpu"


def test_exp_run_composes_what_compose_writes(copy: Project) -> None:
    copy.run("git", "add", "-A")
    copy.run("git", "commit", "-qm", "start")
    words = [word for override in (*SMOKE, "precision=[int4]") for word in ("-S", override)]
    done = copy.dvc("exp", "run", *words)
    assert done.returncode == 0, done.stderr
    composed = written(copy)
    assert [record["id"] for record in copy.json("reports/cells.json")] == [CELL]
    copy.compose("precision=[int4]")
    assert written(copy) == composed


def written(project: Project) -> list[str]:
    return [(project.root / name).read_text(encoding="utf-8") for name in ("params.yaml", "stages/plan.yaml")]


def test_the_plan_is_no_parameter_of_experiments(copy: Project) -> None:
    copy.run("git", "add", "-A")
    copy.run("git", "commit", "-qm", "start")
    copy.compose("precision=[int4]")
    changed = json.loads(copy.dvc("params", "diff", "--json").stdout)
    assert changed.pop("stages/plan.yaml") == {"matrix": {"old": "2 cells", "new": "1 cells"}}
    assert set(changed) == {"params.yaml"}
    assert {key.partition(".")[0] for key in changed["params.yaml"]} == {"precision"}


def test_an_experiment_in_another_folder_lands_in_the_same_mlflow_store(copy: Project) -> None:
    copy.run("git", "add", "-A")
    copy.run("git", "commit", "-qm", "start")
    before = runs(copy)
    words = [word for override in (*SMOKE, "precision=[int4]", "evaluate.tokens=512") for word in ("-S", override)]
    done = copy.dvc("exp", "run", "--temp", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert runs(copy) > before


def runs(project: Project) -> int:
    with sqlite3.connect(project.root / "mlflow.db") as store:
        return int(store.execute("select count(*) from runs").fetchone()[0])


def test_metrics_can_be_compared_with_the_last_commit(copy: Project) -> None:
    copy.run("git", "add", "-A")
    copy.run("git", "commit", "-qm", "start")
    metrics = copy.json("reports/metrics.json")
    metrics["cpu"]["log10_kl"] -= 1
    (copy.root / "reports/metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    done = copy.dvc("metrics", "diff", "--json")
    assert done.returncode == 0 and not done.stderr, done.stderr
    (changed,) = json.loads(done.stdout)["reports/metrics.json"].items()
    assert changed[0] == "cpu.log10_kl" and round(changed[1]["diff"], 5) == -1


def test_a_pushed_package_verifies_in_a_fresh_clone_without_any_ml_library(copy: Project, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    assert copy.dvc("remote", "add", "-d", "store", str(remote)).returncode == 0
    copy.run("git", "add", "-A")
    copy.run("git", "commit", "-qm", "results")
    assert copy.dvc("push").returncode == 0
    clone = Project(tmp_path / "clone")
    copy.run("git", "clone", "-q", str(copy.root), str(clone.root))
    done = clone.dvc("pull", f"packages/{CELL}")
    assert done.returncode == 0, done.stderr
    code = (
        "import sys; from pipeline.__main__ import main\n"
        f"code = main(['verify', 'packages/{CELL}'])\n"
        "heavy = {'torch', 'transformers', 'onnx', 'onnxruntime', 'onnxruntime_genai', 'numpy', 'mlflow', 'dvc'}\n"
        "assert not heavy & set(sys.modules); sys.exit(code)"
    )
    done = clone.run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert f"packages/{CELL}: ok" in done.stdout


def test_verify_names_every_file_that_was_altered_missing_or_added(copy: Project) -> None:
    package = copy.root / "packages" / CELL
    (package / "README.md").write_text("changed", encoding="utf-8")
    (package / "tokenizer.json").unlink()
    (package / "extra.py").write_text("", encoding="utf-8")
    done = copy.pipeline("verify", f"packages/{CELL}")
    assert done.returncode == 1
    for part in ("README.md has 7 bytes", "tokenizer.json is missing", "extra.py does not belong here"):
        assert part in done.stderr


def test_a_package_holds_what_its_sums_say(finished: Project) -> None:
    if shutil.which("sha256sum"):
        done = finished.run("sh", "-c", f"cd packages/{CELL} && sha256sum -c --quiet files.sha256")
        assert done.returncode == 0, done.stderr


def test_queued_experiments_run_and_land(copy: Project) -> None:
    copy.run("git", "add", "-A")
    copy.run("git", "commit", "-qm", "start")
    words = [word for override in (*SMOKE, "precision=[int4]", "evaluate.tokens=640") for word in ("-S", override)]
    before = runs(copy)
    assert copy.dvc("exp", "run", "--queue", *words).returncode == 0
    done = copy.dvc("exp", "run", "--run-all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert runs(copy) > before
