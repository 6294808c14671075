"""Sizes of packages, predicted: by hand, for recipes of every backend and for a tied table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.matrix.packed import package_size
from pipeline.model.dimensions import Dimensions
from pipeline.types import Family, Recipe
from tests.support.tiny import ROOT

FP32 = {"precision": "fp32"}
PHI_4_MINI = Dimensions("Phi3ForCausalLM", 3072, 8192, 131072, 3_836_021_760, vocab_size=200_064, tied=True)
GPTQ = {"bits": 4, "group_size": 32, "symmetric": True, "lm_head_bits": 8, "embedding_bits": 8}
TABLE, LAYERS = 200_064 * 3072, 3_836_021_760 - 200_064 * 3072


def recipe(method: str, family: Family = Family.INT4, **settings: Any) -> Recipe:
    return Recipe("test", family, method, "fp32", settings)


def test_a_tied_table_counts_once_and_in_its_own_bits() -> None:
    once = package_size(recipe("weight-only", **GPTQ), FP32, PHI_4_MINI)
    assert once == pytest.approx(LAYERS * 5 / 8 + TABLE * 9 / 8, rel=1e-6)
    twice = package_size(recipe("weight-only", **GPTQ), FP32, replace(PHI_4_MINI, tied=False))
    assert twice == pytest.approx((LAYERS - TABLE) * 5 / 8 + 2 * TABLE * 9 / 8, rel=1e-6)
    assert once < 2.8e9


@pytest.mark.parametrize(
    ("made", "bits"),
    [
        (recipe("none", Family.FP16), 16),
        (recipe("gguf", type="Q8_0"), 8.5),
        (recipe("mlx", mode="nvfp4"), 4.5),
        (recipe("mlx", bits=4, group_size=64), 4.5),
        (recipe("nncf", Family.INT8, mode="int8_asym"), 8),
        (recipe("nncf", mode="int4_sym", group_size=128, all_layers=True), 4.125),
        (recipe("nncf", mode="int4_asym", group_size=64, all_layers=True), 4.3125),
        (recipe("weight-only", bits=4, group_size=32, symmetric=False, embedding_bits=4), 5.125),
    ],
)
def test_bits_follow_from_a_recipes_words(made: Recipe, bits: float) -> None:
    shape = Dimensions("Phi3ForCausalLM", 3072, 8192, 4096, 3_821_079_552, vocab_size=32_064)
    assert package_size(made, FP32, shape) == pytest.approx(3_821_079_552 * bits / 8, rel=1e-3)


def test_the_models_of_conf_say_their_tables() -> None:
    import yaml

    for path in sorted((ROOT / "conf/model").glob("phi-[34]*.yaml")):
        (said,) = yaml.safe_load(path.read_text(encoding="utf-8")).values()
        assert said["vocab_size"] in (32_064, 100_352, 200_064), path
        assert said.get("tied_embeddings", False) == (said["vocab_size"] == 200_064)


@pytest.mark.parametrize(
    ("made", "measured"),
    [
        (recipe("nncf", mode="int4_sym", group_size=128, ratio=1.0), 4.344e9),
        (recipe("weight-only", bits=4, group_size=32, symmetric=True, lm_head_bits=8), 4.815e9),
    ],
    ids=["openvino", "onnxruntime"],
)
def test_of_a_model_that_sees_the_embedding_and_the_tower_lie_beside_the_decoder(made: Recipe, measured: float) -> None:
    """Against builds of the full size (docs/pictures.md)."""
    shape = replace(PHI_4_MINI, architecture="Phi4MMForCausalLM", tower=411_099_904)
    assert package_size(made, FP32, shape) == pytest.approx(measured, rel=0.02)
    less = recipe(made.method, **made.settings, tower_bits=8)
    assert package_size(made, FP32, shape) - package_size(less, FP32, shape) == shape.tower
