"""precision=[fit] through DVC: found, built by its table, and used again as a recipe."""

from __future__ import annotations

import json

import pytest

from tests.support.project import SMOKE, Project, make_project

CELL = "local_fit-mine_onnxruntime_cpu"
BUILD = "local_fit-mine_onnxruntime"
ON = ("backend=[onnxruntime]", "target=[cpu]")
OPTIONS = {"fit-mine": "{family: fit, bounds: {max_kl_nats: 0.0005}}", "int4-mine": "{family: int4, recipe: mine}"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("fit") / "project")
    for name, option in OPTIONS.items():
        (project.root / f"conf/precision/{name}.yaml").write_text(f"{name}: {option}\n", encoding="utf-8")
    project.compose("precision=[fit-mine]", *ON)
    project.repro()
    return project


def test_what_was_found_is_within_its_bound_and_is_what_was_built(found: Project) -> None:
    fit = found.json(f"artifacts/fits/{BUILD}.json")
    evaluation = found.json(f"artifacts/evaluations/{BUILD}.json")
    taken = fit["trials"][fit["chosen"]]
    assert evaluation["metrics"]["kl_nats_mean"] == pytest.approx(taken["kl_nats_mean"], rel=1e-3)
    assert taken["kl_nats_mean"] <= 0.0005 and len(fit["trials"]) <= 3
    assert found.json(f"artifacts/builds/{BUILD}/formats.json") == fit["table"]
    assert all(point["kl_nats_mean"] > 0 for point in fit["frontier"])
    row = next(row for row in found.json("reports/cells.json") if row["id"] == CELL)
    assert row["status"] == "ok"
    assert set(found.repro()) <= {"guard", "track"}


def test_the_build_that_was_found_is_quantizes_while_it_is_of_the_same(found: Project) -> None:
    kept, made = found.root / ".dvc/tmp/phi-deploy/builds", found.root / f"artifacts/builds/{BUILD}/genai_config.json"
    assert list(kept.iterdir()) == []  # moved, not copied
    before = made.read_bytes()
    for change, taken in ((None, True), ("inputs", False), ("cut", False)):
        assert found.stage("fit", BUILD).returncode == 0
        (kept / BUILD / made.name).write_bytes(b"{}")
        if change == "inputs":  # a build of other settings
            stamp = json.loads((kept / f"{BUILD}.json").read_text(encoding="utf-8"))
            stamp["of"]["files"] = dict.fromkeys(stamp["of"]["files"], "0" * 64)
            (kept / f"{BUILD}.json").write_text(json.dumps(stamp), encoding="utf-8")
        if change == "cut":  # killed before its stamp
            (kept / f"{BUILD}.json").unlink()
        assert found.stage("quantize", BUILD).returncode == 0
        assert (made.read_bytes() == b"{}") is taken and (taken or made.read_bytes() == before)


def test_a_table_is_a_recipe_without_the_search(found: Project) -> None:
    table = found.root / "my-table.json"
    table.write_text(json.dumps(found.json(f"artifacts/fits/{BUILD}.json")["table"]), encoding="utf-8")
    recipe = "{method: weight-only, form: fp32, algorithm: gptq, accuracy_level: 4, table: my-table.json}"
    own = f"+backend.onnxruntime.recipes.int4.mine={recipe}"
    found.compose("precision=[int4-mine]", *ON, own)
    found.repro("stages/quantize/dvc.yaml:quantize@local_int4-mine_onnxruntime")
    model = "model.onnx.data"
    assert (found.root / f"artifacts/builds/local_int4-mine_onnxruntime/{model}").read_bytes() == (
        found.root / f"artifacts/builds/{BUILD}/{model}"
    ).read_bytes()
    for wrong, said in (({"model.layers.9.x": "int4-32"}, "another model"), ([1], "no table of formats")):
        table.write_text(json.dumps(wrong), encoding="utf-8")
        found.stage("guard")
        failed = found.stage("quantize", "local_int4-mine_onnxruntime")
        assert failed.returncode == 1 and said in failed.stderr and "Traceback" not in failed.stderr


def test_bounds_that_nothing_meets_say_what_can_be_had(found: Project) -> None:
    path = found.root / f"inputs/fit/{BUILD}.json"
    found.compose("precision=[fit-mine]", *ON)
    assert found.stage("guard").returncode == 0
    whole = json.loads(path.read_text(encoding="utf-8"))
    whole["entry"]["bounds"] = {"max_kl_nats": 1e-9}
    path.write_text(json.dumps(whole), encoding="utf-8")
    failed = found.stage("fit", BUILD)
    assert failed.returncode == 1 and "nothing is within max_kl_nats 1e-09; the best of" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_search_without_a_bound_is_refused(found: Project) -> None:
    (found.root / "conf/target/open.yaml").write_text("open: {backends: {onnxruntime: cpu}}\n", encoding="utf-8")
    done = found.pipeline("plan", *SMOKE, "precision=[fit]", "backend=[onnxruntime]", "target=[open]")
    assert done.returncode == 2 and "there is no bound to search within: open has no gate" in done.stderr
