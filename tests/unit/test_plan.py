"""The matrix: which cells there are, what they share, and why others are left out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.placeholder import add_models
from pipeline.errors import ConfigError
from pipeline.matrix.plan import make_plan
from pipeline.planned import Plan
from tests.support.project import Project
from tests.support.tiny import ROOT

HEAVY = {"torch", "transformers", "onnx", "onnxruntime", "onnxruntime_genai", "nncf", "mlflow", "numpy", "dvc"}
LOCAL = ("model=[local]", "model.local.path=models/tiny", "backend=[onnxruntime]")


def plan(project: Project, *overrides: str) -> dict:
    done = project.pipeline("plan", "--json", *LOCAL, *overrides)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def method(build: dict) -> str:
    return build["quantize"]["recipe"]["method"]


def test_builds_of_one_form_share_an_export(project: Project) -> None:
    made = plan(project, "precision=[fp32,fp16,int8,int4]")
    assert len(made["cells"]) == 4
    assert sorted(made["exports"]) == ["local_onnxruntime_fp16", "local_onnxruntime_fp32"]
    assert {build["export"] for build in made["builds"].values() if method(build) == "weight-only"} == {
        "local_onnxruntime_fp32"
    }


def test_every_combination_is_a_cell_or_has_a_reason(project: Project) -> None:
    made = plan(
        project,
        "precision=[fp32,int4,int4-b128]",
        "backend.onnxruntime.recipes.int4.b128.group_size=96",
        "target.cpu.max_weight_gb=0.004",
    )
    assert set(made["cells"]) == {"local_int4_onnxruntime_cpu"}
    assert "group-size-divides: group size 96" in made["excluded"]["local_int4-b128_onnxruntime_cpu"]
    assert "target-holds-model" in made["excluded"]["local_fp32_onnxruntime_cpu"]


def settings(made: dict, build: str) -> dict:
    return made["builds"][build]["quantize"]["recipe"]["settings"]


def odd_model(project: Project, hidden: int, inner: int = 1536) -> None:
    config = {**json.loads((ROOT / "models/phi-tiny/config.json").read_text(encoding="utf-8")), "hidden_size": hidden}
    folder = project.root / "models" / f"odd-{hidden}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({**config, "intermediate_size": inner, "num_attention_heads": 4, "num_key_value_heads": 4})
    )


def test_of_a_list_of_group_sizes_the_first_that_divides_is_taken_and_said(project: Project) -> None:
    odd_model(project, 576)
    axes = ("model.local.path=models/odd-576", "backend=[openvino,mlx]", "target=[cpu,apple-silicon]")
    made = plan(project, *axes, "precision=[int4,int4-b128,int8]")
    found = settings(made, "local_int4_openvino")
    assert found["group_size"] == 64
    assert found["fallback"] == "group_size 64, as 128 does not divide hidden_size 576"
    assert "group size 128 does not divide hidden_size 576" in made["excluded"]["local_int4-b128_openvino_cpu"]
    assert settings(made, "local_int4_mlx") == {"mode": "nvfp4"}  # groups of 16
    assert settings(made, "local_int8_mlx") == {"bits": 8, "group_size": 64}  # the first of its list
    odd_model(project, 24)
    made = plan(
        project, "model.local.path=models/odd-24", "backend=[openvino,mlx]", axes[2], "precision=[fp32,int4,int8]"
    )
    assert "group size 32 (the last of the list) does not divide" in made["excluded"]["local_int4_openvino_cpu"]
    assert "group size 16 does not divide hidden_size 24" in made["excluded"]["local_int4_mlx_apple-silicon"]


def test_types_for_rows_that_k_quants_do_not_hold_are_said_or_refused(project: Project) -> None:
    odd_model(project, 576)
    axes = ("model.local.path=models/odd-576", "backend=[llamacpp]", "precision=[fp16,int4,int4-q4-k-m,int4-q4-0]")
    made = plan(project, *axes)
    default, plain = (settings(made, f"local_{name}_llamacpp") for name in ("int4", "int4-q4-k-m"))
    assert default == {**plain, "imatrix": "calibration"}
    assert plain["fallback"] == "Q5_0, Q5_1, Q8_0 for rows of 576"
    assert "fallback" not in settings(made, "local_int4-q4-0_llamacpp")
    made = plan(project, *axes, "+backend.llamacpp.recipes.int4.q4-k-m.allow_fallback=false")
    reason = "Q4_K_M needs rows of a multiple of 256, the model has 576; llamacpp would take Q5_0, Q5_1, Q8_0 there"
    assert reason in made["excluded"]["local_int4-q4-k-m_llamacpp_cpu"]
    odd_model(project, 48)
    made = plan(project, "model.local.path=models/odd-48", *axes[1:])
    assert {"local_int4_llamacpp_cpu", "local_int4-q4-0_llamacpp_cpu"} <= set(made["excluded"])
    assert "would take F16 there" in made["excluded"]["local_int4_llamacpp_cpu"]


def test_only_data_aware_recipes_depend_on_the_calibration_text(project: Project) -> None:
    made = plan(project, "precision=[int4-plain,int8-static]")
    texts = {key: build["calibration"] for key, build in made["builds"].items()}
    assert texts["local_int8-static_onnxruntime"] == "data/english/calibration.txt"
    assert texts["local_int4-plain_onnxruntime"] == "artifacts/models/local"


def test_a_hub_model_is_planned_without_network_or_files(project: Project) -> None:
    done = project.pipeline("plan", "--json", "model=[phi-3.5-mini]", "precision=[int4]", "backend=[onnxruntime]")
    made = json.loads(done.stdout)
    assert list(made["cells"]) == ["phi-3-5-mini_int4_onnxruntime_cpu"]


def test_planning_imports_no_ml_library(project: Project) -> None:
    code = (
        f"import sys; from pipeline.__main__ import main; assert main(['plan', *{LOCAL!r}]) == 0\n"
        f"found = {HEAVY!r} & set(sys.modules); assert not found, found"
    )
    done = project.run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


OPTIONS = sorted(path for path in (ROOT / "conf").rglob("*.yaml") if path.parent.name != "conf")


def plan_of(overrides: list[str]) -> Plan:
    from pipeline.matrix.compose import compose_config, settings_of

    return make_plan(compose_config(overrides, settings_of))


def test_there_are_options_to_test() -> None:
    assert len(OPTIONS) >= 15


@pytest.mark.parametrize("option", OPTIONS, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_every_option_in_conf_composes(option: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    group, name = option.parent.name, option.stem
    value = name if group == "suite" else f"[{name}]"
    extra = ["model.local.path=models/phi-tiny"] if (group, name) == ("model", "local") else []
    if name.endswith("-tower"):  # text models have none
        extra.append("model=[phi-tiny-vision]")
    assert plan_of([f"{group}={value}", *extra]).cells


def test_what_no_toolchain_here_makes_is_left_out_with_what_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match="toolchain-is-here: a Core ML model is compiled on a Mac"):
        plan_of(["target=[apple-silicon]", "backend=[onnxruntime]"])


@pytest.mark.parametrize("option", OPTIONS, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_every_option_says_what_it_is_and_the_command(option: Path) -> None:
    text = option.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith(("# @package", "# yaml-language-server:"))]
    assert lines[0].startswith("# ") and lines[1].startswith("# python -m pipeline ")


def test_what_calibrates_by_layer_needs_layers(project: Project) -> None:
    asked = ("model=[phi-3.5-moe]", "precision=[fit,int4]", "backend=[mlx]", "target=[apple-silicon]")
    made = json.loads(project.pipeline("plan", "--json", *asked).stdout)
    assert "PhiMoEForCausalLM is not run layer by layer" in made["excluded"]["phi-3-5-moe_fit_mlx_apple-silicon"]


def test_very_many_options_say_together_what_each_says(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long list of an axis is handed to Hydra as one option: the same config, and errors that name what is wrong."""
    from pipeline.matrix import compose

    names = add_models(project.root, compose.MANY)
    monkeypatch.chdir(project.root)
    matrix = [f"model=[{','.join(names)}]", "precision=[int4]", "model.m003.path=elsewhere"]
    together = compose.to_yaml(compose.compose_config(matrix))
    assert "elsewhere" in together and list(yaml.safe_load(together)["model"]) == names
    monkeypatch.setattr(compose, "MANY", 1000)
    assert compose.to_yaml(compose.compose_config(matrix)) == together
    monkeypatch.undo()
    monkeypatch.chdir(project.root)
    (project.root / "conf/model/m002.yaml").write_text("m002:\n  pth: models/tiny\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown key 'pth'; did you mean 'path'"):
        compose.compose_config(matrix)
    (project.root / "conf/model/m002.yaml").write_text("m001:\n  path: again\n", encoding="utf-8")
    assert yaml.safe_load(compose.to_yaml(compose.compose_config(matrix)))["model"]["m001"]["path"] == "again"
