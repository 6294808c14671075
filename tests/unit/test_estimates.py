"""What `plan` says of time and memory: held against what was measured, and what it proposes where nothing fits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psutil
import pytest

from pipeline.commands.estimate import duration, lines
from pipeline.matrix.compose import compose_config, settings_of
from pipeline.matrix.estimates import Asked, Need, asked_of, needs
from pipeline.matrix.plan import make_plan
from pipeline.matrix.sizes import plan_size
from pipeline.model.dimensions import dimensions
from tests.support.tiny import ROOT

MEASURED = json.loads((ROOT / "benchmarks/results/memory.json").read_text(encoding="utf-8"))[0]
SEEING = json.loads((ROOT / "benchmarks/results/memory_multimodal.json").read_text(encoding="utf-8"))
CELLS = ["model=[phi-3.5-mini]", "target=[cpu,apple-silicon]", "precision=[int4-plain,int4-cookbook,int8,fp16]"]
MEASURED_AS = {"int4-plain:onnxruntime": "int4-plain_onnxruntime", "int4-cookbook:openvino": "int4-cookbook_openvino"}
MEASURED_AS |= {
    f"{family}:{backend}": f"{family}_{backend}"
    for family in ("int8", "fp16")
    for backend in ("onnxruntime", "openvino", "llamacpp", "mlx")
}


def of(overrides: Sequence[str], tokens: int = 256) -> tuple[Any, Any, list[Need]]:
    settings = compose_config(overrides, settings_of)
    plan = make_plan(settings)
    shapes = {name: dimensions(name, settings["model"][name]) for name in plan.models}
    return plan, settings, needs(plan, shapes, dict.fromkeys(plan.models, Asked(tokens, 0, 8)), cores=2)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_estimates_are_within_a_factor_of_two_of_what_was_measured() -> None:
    found = {(need.stage, need.key): need for need in of([*CELLS, "evaluate.decode_tokens=8"])[2]}  # as was measured
    compared = 0
    for name, key in MEASURED_AS.items():
        for stage in ("quantize", "evaluate"):
            measured = MEASURED["cells"].get(name, {"stages": {}})["stages"].get(stage)
            if measured is None:
                continue
            need = found[stage, f"phi-3-5-mini_{key}"]
            assert 0.5 < need.seconds / measured["wall_s"] < 2, (stage, name, need, measured)
            assert 0.5 < need.memory / 1e6 / measured["peak_anon_mb"] < 4, (stage, name, need, measured)
            compared += 1
    reference = found["reference", "phi-3-5-mini"]
    assert 0.5 < reference.seconds / MEASURED["shared"]["reference"]["wall_s"] < 2
    assert compared >= 9


def test_memory_of_full_size_models_that_see_is_not_said_too_small() -> None:
    for result in SEEING:
        model = result["checkpoint"]["name"]
        for name, cell in result["cells"].items():
            precision, backend = name.split(":")
            found = of([f"model=[{model}]", f"precision=[{precision}]", f"backend=[{backend}]", "target=[cpu]"])[2]
            need = next(need for need in found if need.stage == "quantize")
            assert 0.8 < need.memory / 1e6 / cell["stages"]["quantize"]["peak_anon_mb"] < 4, (model, name, need)


def test_a_search_takes_its_builds_and_a_run_of_half_the_model_for_each_matrix() -> None:
    fitting = ["model=[phi-3.5-mini]", "target=[cpu]", "precision=[fit]", "backend=[onnxruntime]"]

    def took(*more: str) -> dict[str, float]:
        return {need.stage: need.seconds for need in of([*fitting, *more])[2]}

    usual = took()
    assert {"sensitivity", "variants", "fit"} <= usual.keys()
    assert usual["fit"] > 2.5 * (usual["quantize"] + usual["evaluate"])
    assert took("search.builds=1")["fit"] < usual["fit"] / 2
    assert took("search.sensitivity=fisher")["sensitivity"] < usual["sensitivity"] / 5
    assert took("search.sensitivity_windows=8")["sensitivity"] > 3 * usual["sensitivity"]
    assert 1800 < usual["sensitivity"] < 4 * 3600  # an hour or two on two cores


def test_more_tokens_take_longer_and_a_device_elsewhere_is_not_timed() -> None:
    short, long = (sum(need.seconds for need in of([*CELLS, "target=[cpu]"], tokens)[2]) for tokens in (256, 20480))
    assert long > 3 * short
    assert not [need for need in of(CELLS)[2] if need.stage == "benchmark" and need.key.endswith("apple-silicon")]


def test_what_does_not_fit_is_said_with_lighter_recipes_that_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        total = 12e9

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory)
    plan, settings, _ = of(["model=[phi-3.5-mini]", "precision=[int4]", "backend=[openvino]", "target=[cpu]"])
    shapes = {name: dimensions(name, settings["model"][name]) for name in plan.models}
    said = "\n".join(lines(plan, settings, shapes))
    large = next(line for line in said.splitlines() if line.startswith("too large for this machine's 12 GB"))
    assert "quantize phi-3-5-mini_int4_openvino" in large and "int4-cookbook" in large
    assert "int4-gptq" not in large, "it calibrates as well"
    assert "docs/performance.md" in said and "evaluate.tokens=2048" in said


@pytest.mark.parametrize(("seconds", "text"), [(40, "40 s"), (600, "10 min"), (9000, "2.5 h")])
def test_times_are_written_in_one_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("model", ["phi-4-multimodal", "phi-4-multimodal-speech", "phi-3.5-vision"])
def test_what_sees_or_hears_takes_memory_and_disk_beside_the_decoder(model: str) -> None:
    words = [f"model=[{model}]", "precision=[int4]", "target=[cpu]", "backend=[onnxruntime]"]
    plan, settings, seeing = of(words)
    name = next(iter(plan.models))
    shape = dimensions(name, settings["model"][name])
    assert 0.3e9 < shape.tower < 0.46e9
    blind = {name: replace(shape, tower=0)}
    less = needs(plan, blind, dict.fromkeys(plan.models, Asked(256, 0, 8)), cores=2)
    more = {need.stage: round(need.memory - other.memory) for need, other in zip(seeing, less, strict=True)}
    assert more["reference"] == more["evaluate"] == more["benchmark"] == 4 * shape.tower
    assert more["quantize"] == 6 * shape.tower  # traced
    fetched, built = 2 * shape.tower, 2 * (shape.tower + shape.vocab_size * shape.hidden_size)
    apart = plan_size(plan, {name: shape}, 5e8, kept=1) - plan_size(plan, blind, 5e8, kept=1)
    assert apart == (1 + bool(plan.models[name].fetch.repo)) * fetched + built


def test_a_local_models_tower_is_that_of_its_tensors_and_questions_count_their_pictures() -> None:
    settings = compose_config(["suite=vision"], settings_of)
    name = "phi-tiny-vision"
    assert 100_000 < dimensions(name, settings["model"][name]).tower < 500_000
    shape = dimensions(name, settings["model"][name])
    assert asked_of(make_plan(settings), {name: shape})[name].tokens == 63 * 800
    assert (
        asked_of(make_plan(settings), {name: replace(shape, architecture="Phi3VForCausalLM")})[name].tokens == 63 * 2400
    )
