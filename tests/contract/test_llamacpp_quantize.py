"""GGUF files quantized by llama.cpp's library: mixtures and importance matrices."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import gguf
import numpy as np
import pytest

from pipeline.backends.base import Calibration
from pipeline.backends.llamacpp.files import file_types
from pipeline.backends.llamacpp.imatrix import collect
from pipeline.errors import ArtifactError, ConfigError
from pipeline.matrix.recipes import parse_recipe
from pipeline.types import Family
from tests.support.backends import conf_of
from tests.support.gguf_files import build, contents, converted


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An F32 file of a one-layer random model."""
    return converted(tmp_path_factory.mktemp("llamacpp"))


def test_q4_k_m_is_the_mixture_that_people_know(export: Path, tmp_path: Path) -> None:
    stats = build(export, tmp_path / "out", type="Q4_K_M")
    types = Counter(kind.name for kind, shape, _ in contents(tmp_path / "out")[1].values() if len(shape) == 2)
    assert types == {"Q4_K": 3, "Q6_K": 3}
    assert stats.operators == 6 and stats.kept == {"embedding": "Q4_K", "lm_head": "Q6_K"}
    assert 4.5 < stats.bits_per_weight < 6.6


def test_a_file_says_which_types_rows_of_other_lengths_took(tmp_path: Path) -> None:
    """llama.cpp's own choice, counted in the file; the YAML names no fewer."""
    odd = converted(tmp_path, hidden_size=192, num_attention_heads=6, num_key_value_heads=6)
    rows = conf_of("llamacpp")["rows"]
    for kind in ("Q4_K_M", "Q4_K_S", "Q3_K_M", "Q3_K_L", "Q2_K", "Q5_K_M", "Q6_K", "IQ4_XS"):
        stats = build(odd, tmp_path / kind, type=kind)
        found = Counter(kind.name for kind, shape, _ in contents(tmp_path / kind)[1].values() if shape[0] == 192)
        said = {
            kind: int(count) for count, kind in (part.split(" × ") for part in stats.kept["rows of 192"].split(", "))
        }
        assert said == {name: count for name, count in found.items() if name != "F32"}
        assert set(said) <= set(rows[kind]["otherwise"])
    assert "rows of 192" not in build(odd, tmp_path / "q4-0", type="Q4_0").kept


def test_importance_is_the_mean_squared_input(export: Path, tmp_path: Path) -> None:
    """Held against the first layer's normed input, computed from the checkpoint."""
    ids = np.random.default_rng(2).integers(3, 2000, (2, 32))
    found = collect(export / "model.gguf", ids, lambda *_: None)
    assert set(found) >= {"blk.0.attn_qkv.weight", "blk.0.attn_output.weight", "blk.0.ffn_up.weight"}
    tensors = {t.name: t.data for t in gguf.GGUFReader(export / "model.gguf").tensors}
    embedded = tensors["token_embd.weight"].reshape(-1, 256)[ids.reshape(-1)]
    normed = embedded / np.sqrt((embedded**2).mean(axis=-1, keepdims=True) + 1e-5) * tensors["blk.0.attn_norm.weight"]
    np.testing.assert_allclose(found["blk.0.attn_qkv.weight"], (normed**2).mean(axis=0), rtol=1e-3)


def test_an_importance_matrix_changes_the_weights(export: Path, tmp_path: Path) -> None:
    ids = Calibration(np.random.default_rng(2).integers(3, 2000, (4, 32)))
    build(export, tmp_path / "plain", type="Q4_K_M")
    build(export, tmp_path / "weighted", ids, type="Q4_K_M", imatrix="calibration")
    assert contents(tmp_path / "plain")[1] != contents(tmp_path / "weighted")[1]


def write_imatrix(path: Path, channels: int) -> Path:
    writer = gguf.GGUFWriter(path, "imatrix")
    for name in ("attn_qkv", "attn_output", "ffn_up", "ffn_down"):
        size = 256 if name == "ffn_down" and channels == 256 else channels
        writer.add_tensor(f"blk.0.{name}.weight.in_sum2", np.ones((1, size), np.float32))
        writer.add_tensor(f"blk.0.{name}.weight.counts", np.ones((1, 1), np.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    return path


def test_an_importance_matrix_file_is_taken(export: Path, tmp_path: Path) -> None:
    stats = build(export, tmp_path / "out", type="Q4_K_M", imatrix=str(write_imatrix(tmp_path / "own.gguf", 256)))
    assert stats.operators == 6


def test_an_importance_matrix_of_another_model_is_refused(export: Path, tmp_path: Path) -> None:
    foreign = write_imatrix(tmp_path / "foreign.gguf", 128)
    with pytest.raises(ArtifactError, match="of another model: blk.0.attn_output.weight has 128 channels, not 256"):
        build(export, tmp_path / "out", type="Q4_K_M", imatrix=str(foreign))


def test_an_unknown_type_is_refused_while_planning() -> None:
    with pytest.raises(ConfigError, match="Q4_K_X"):
        parse_recipe(
            "test",
            Family.INT4,
            {"method": "gguf", "form": "fp32", "type": "Q4_K_X"},
            "here",
            conf_of("llamacpp")["methods"],
        )


def test_the_types_of_the_yaml_are_those_of_llama_cpp_and_each_has_its_rows() -> None:
    conf = conf_of("llamacpp")
    types = conf["methods"]["gguf"]["words"]["type"]
    assert set(types) <= set(file_types()) and file_types()["Q4_K_M"] == 15
    assert set(types) == set(conf["rows"])
