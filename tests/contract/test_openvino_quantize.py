"""OpenVINO's IR holds what the recipes say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.backends.base import Calibration
from pipeline.backends.openvino.backend import OpenVinoBackend
from pipeline.errors import ConfigError, ToolError
from pipeline.matrix.recipes import parse_recipe
from pipeline.types import Family, Recipe
from tests.support.backends import conf_of, order
from tests.support.openvino_files import constants, converted
from tests.support.tiny import tiny_config

INT4 = {"mode": "int4_sym", "group_size": 128, "ratio": 1.0}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a one-layer random model."""
    return converted(tmp_path_factory.mktemp("openvino"))


def build(export: Path, out: Path, calibration: Calibration | None = None, **settings: Any) -> Any:
    out.mkdir(exist_ok=True)
    recipe = Recipe("test", Family.INT4, "nncf", "fp32", settings)
    return OpenVinoBackend().quantize(export, order(recipe, out, calibration))


@pytest.mark.parametrize(
    ("settings", "expected", "kept"),
    [
        # embedding and lm_head at 8 bits unless all layers are asked for; qkv, o, gate_up and down at 4
        ({"mode": "int8_asym"}, {"u8": 6}, 8),
        ({"mode": "int8_sym"}, {"i8": 6}, 8),
        (INT4, {"i4": 4, "u8": 2}, 8),
        ({**INT4, "mode": "int4_asym"}, {"u4": 4, "u8": 2}, 8),
        ({**INT4, "all_layers": True}, {"i4": 6}, 4),
        ({**INT4, "ratio": 0.6}, {"i4": 2, "u8": 4}, 8),
        ({**INT4, "mode": "nf4"}, {"nf4": 4, "u8": 2}, 8),
    ],
)
def test_the_ir_has_as_many_matrices_of_each_type_as_the_recipe_says(
    export: Path, tmp_path: Path, settings: dict[str, Any], expected: dict[str, int], kept: int
) -> None:
    stats = build(export, tmp_path / "out", **settings)
    assert constants(tmp_path / "out") == expected
    assert stats.operators == 6 and stats.kept == {"embedding": kept, "lm_head": kept}


def test_bits_per_weight_follow_from_the_storage(export: Path, tmp_path: Path) -> None:
    stats = build(export, tmp_path / "out", mode="int8_sym")
    config = tiny_config()
    vocab, hidden, inner = config["vocab_size"], config["hidden_size"], config["intermediate_size"]
    head = hidden // config["num_attention_heads"]
    qkv = head * (config["num_attention_heads"] + 2 * config["num_key_value_heads"])
    rows = 2 * vocab + qkv + hidden + 2 * inner + hidden  # one scale of 16 bits each
    matrices = 2 * vocab * hidden + hidden * qkv + hidden * hidden + 3 * hidden * inner
    expected = (8 * matrices + 16 * rows + 32 * 3 * hidden) / (matrices + 3 * hidden)
    assert stats.bits_per_weight == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"mode": "int8_asym", "group_size": 128}, "mode int8_asym takes no 'group_size'"),
        ({"mode": "int8_sym", "gptq": True}, "mode int8_sym takes no 'gptq'"),
        ({"mode": "mxfp4", "group_size": 64}, "mode mxfp4 takes group_size 32, not 64"),
        ({"mode": "int3_sym"}, "is none of"),
        ({**INT4, "ratio": 1.5}, "not between 0 and 1"),
    ],
)
def test_a_recipe_that_nncf_would_refuse_is_refused_while_planning(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_recipe(
            "test", Family.INT4, {"method": "nncf", "form": "fp32", **raw}, "here", conf_of("openvino")["methods"]
        )


def test_a_recipe_that_calibrates_needs_data(export: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs calibration data"):
        build(export, tmp_path / "out", **INT4, gptq=True)


def test_what_nncf_refuses_is_one_line_with_its_words(export: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="NNCF failed: .*96") as caught:
        build(export, tmp_path / "out", **{**INT4, "group_size": 96})
    assert len(str(caught.value).splitlines()) == 1


def test_weights_beside_quantized_activations_have_seven_bits(export: Path, tmp_path: Path) -> None:
    """CPUs without VNNI sum two products of bytes in 16 bits: 2 · 255 · 127 is more than they hold."""
    import openvino

    raw = conf_of("openvino")["recipes"]["int8"]["static"]
    recipe = parse_recipe("static", Family.INT8, raw, "here", conf_of("openvino")["methods"])
    windows = np.random.default_rng(0).integers(3, 2000, (2, 32))
    (tmp_path / "out").mkdir()
    OpenVinoBackend().quantize(export, order(recipe, tmp_path / "out", Calibration(windows)))
    model = openvino.Core().read_model(tmp_path / "out/openvino_model.xml")
    held = [
        node.get_data()
        for node in model.get_ops()
        if node.get_type_name() == "Constant" and node.get_element_type() == openvino.Type.i8
    ]
    wide = [weights for weights in held if np.abs(weights.astype(int)).max() > 64]
    assert len(held) == 6 and len(wide) <= 1  # the embedding, which is looked up
