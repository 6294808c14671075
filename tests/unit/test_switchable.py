"""Adapters that runtimes switch: their factors are what PEFT adds, and what cannot be switched is one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from pipeline.errors import CheckpointError
from pipeline.model.adapter import read_adapter
from pipeline.model.dimensions import dimensions
from pipeline.model.switchable import low_rank
from tests.support.adapters import CONFIG, WEIGHTS, by_hand, retrained, train
from tests.support.edits import edit
from tests.support.project import Project
from tests.support.tiny import tiny_config, write_checkpoint

QKV = "model.layers.0.self_attn.qkv_proj"
CASES: dict[str, dict[str, Any]] = {
    "lora": {"target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]},
    "rslora and patterns": {
        "target_modules": ["qkv_proj", "o_proj", "down_proj"],
        "use_rslora": True,
        "rank_pattern": {"o_proj": 2, "mlp.down_proj": 6},
        "alpha_pattern": {"qkv_proj": 3},
    },
    "one layer of two": {"target_modules": ["o_proj"], "layers_to_transform": [1]},
}


@pytest.mark.parametrize("name", CASES)
def test_factors_are_what_peft_adds(name: str, tmp_path: Path) -> None:
    layers = 2 if "layers_to_transform" in CASES[name] else 1
    base = write_checkpoint(tmp_path / "base", num_hidden_layers=layers)
    model = train(base, tmp_path / "adapter", **CASES[name])
    found = low_rank(read_adapter(tmp_path / "adapter"), tiny_config(num_hidden_layers=layers))
    before, after = load_file(base / "model.safetensors"), model.merge_and_unload().state_dict()
    changed = {key.removesuffix(".weight") for key, old in before.items() if not np.array_equal(old, after[key])}
    assert changed == set(found.factors)
    for module, factors in found.factors.items():
        assert factors.a.shape[0] == factors.b.shape[1] == found.rank
        delta = after[f"{module}.weight"].numpy() - before[f"{module}.weight"]
        assert np.abs(found.scale * factors.b @ factors.a - delta).max() < 1e-6
    if name != "rslora and patterns":
        assert (found.rank, found.alpha) == (4, 8)


def test_parts_of_a_fused_matrix_are_one_pair_of_factors(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    rows = {"q_proj": 256, "v_proj": 128}
    modules = {f"model.layers.0.self_attn.{part}": (count, 256) for part, count in rows.items()}
    adapter = by_hand(base, tmp_path / "adapter", modules)
    found = low_rank(read_adapter(adapter), tiny_config())
    assert list(found.factors) == [QKV] and found.rank == 8
    tensors = load_file(adapter / WEIGHTS)

    def delta(part: str) -> np.ndarray:
        a, b = (tensors[f"base_model.model.model.layers.0.self_attn.{part}.lora_{letter}.weight"] for letter in "AB")
        return 2 * b @ a

    wanted = np.concatenate([delta("q_proj"), np.zeros((128, 256), np.float32), delta("v_proj")])
    assert np.abs(found.scale * found.factors[QKV].b @ found.factors[QKV].a - wanted).max() < 1e-6


def planned(base: Path, adapter: Path) -> None:
    dimensions("my-phi", {"path": str(base), "repo": "", "adapter": "", "adapters": {"first": str(adapter)}})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target_modules": ["o_proj"], "use_dora": True}, "it has DoRA, which changes the base's own rows"),
        ({"target_modules": ["o_proj"], "modules_to_save": ["lm_head"]}, "a whole tensor of its own (lm_head.weight)"),
        ({"target_modules": ["o_proj"], "resize": 8}, "a whole tensor of its own ("),
        ({"target_modules": ["o_proj", "lm_head"]}, "factors of lm_head, which lies outside of the layers"),
        ({"target_modules": ["o_proj", "embed_tokens"]}, "factors of model.embed_tokens, which lies outside"),
    ],
)
def test_what_no_runtime_switches_is_refused_while_planning(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    base = write_checkpoint(tmp_path / "base")
    train(base, tmp_path / "adapter", **settings)
    with pytest.raises(CheckpointError) as caught:
        planned(base, tmp_path / "adapter")
    said = str(caught.value)
    assert words in said and "no runtime switches that" in said and f"model.my-phi.adapter={tmp_path}" in said
    assert len(said.splitlines()) == 1


A = f"base_model.model.{QKV}.lora_A.weight"
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "other shapes": (retrained(lambda t: t.update({A: np.ones((4, 512), np.float32)})), "an adapter for another base"),
    "missing tensor": (retrained(lambda t: t.pop(A)), f"lora_A of {QKV} is missing"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "it has no adapter_model.safetensors"),
    "no lora": (lambda folder: edit(folder / CONFIG, peft_type="IA3"), "peft_type 'IA3' is not supported"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_that_does_not_fit_is_refused_while_planning(name: str, tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    adapter = by_hand(base, tmp_path / "adapter", {QKV: (512, 256)})
    planned(base, adapter)
    BAD[name][0](adapter)
    with pytest.raises(CheckpointError, match=BAD[name][1]) as caught:
        planned(base, adapter)
    assert len(str(caught.value).splitlines()) == 1


def test_one_that_is_not_finite_is_refused_when_it_is_read(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    adapter = by_hand(base, tmp_path / "adapter", {QKV: (512, 256)})
    retrained(lambda tensors: tensors[A].__setitem__((0, 0), np.inf))(adapter)
    with pytest.raises(CheckpointError, match="has NaN or infinity in it"):
        low_rank(read_adapter(adapter), tiny_config())


LOCAL = ("model=[local]", "model.local.path=models/tiny", "+model.local.adapters.first=adapters/first")


def test_builds_whose_runtime_has_no_place_for_an_adapter_are_left_out_with_the_reason(project: Project) -> None:
    by_hand(project.root / "models/tiny", project.root / "adapters/first", {QKV: (512, 256)})
    plain = project.pipeline("plan", "--json", *LOCAL[:2], "precision=[int4]", "target=[cpu]")
    axes = ("precision=[int4,int8-dynamic,int8-static]", "backend=[onnxruntime,openvino]")
    done = project.pipeline("plan", "--json", *LOCAL, *axes, "target=[cpu,qnn-htp]")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert set(made["cells"]) == {"local_int4_onnxruntime_cpu", "local_int4_openvino_cpu"}
    excluded = made["excluded"]
    rule = "runtime-switches-adapters: onnxruntime switches adapters on builds of none, weight-only, nncf, not of"
    assert excluded["local_int8-dynamic_onnxruntime_cpu"] == f"{rule} dynamic; model.local.adapter merges one"
    assert excluded["local_int4_onnxruntime_qnn-htp"].startswith(f"{rule} qdq")
    assert "builds of none, nncf, mixed, not of nncf-ptq" in excluded["local_int8-static_openvino_cpu"]
    package = made["cells"]["local_int4_openvino_cpu"]["package"]
    assert package["adapters"] == {"first": "adapters/first"}
    base = json.loads(plain.stdout)["builds"]["local_int4_openvino"]  # the base's own: the adapter is the package's
    assert made["builds"]["local_int4_openvino"] == base


def test_a_name_that_no_file_can_have_is_one_clear_line(project: Project) -> None:
    by_hand(project.root / "models/tiny", project.root / "adapters/first", {QKV: (512, 256)})
    done = project.pipeline("plan", *LOCAL[:2], "+model.local.adapters.a_b=adapters/first")
    assert done.returncode != 0 and "model.local.adapters 'a_b': a name has only a-z, 0-9 and '-'" in done.stderr
