"""Full-size checkpoints of models that see or hear: Microsoft's layouts, as fetch takes them, and what they need."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import make_checkpoint, multimodal
from benchmarks.make_checkpoint import MULTIMODAL, tensors, write_checkpoint
from benchmarks.memory import measure
from benchmarks.workspace import copy_project
from pipeline.files import read_json
from pipeline.model.canonical import canonical_config
from pipeline.model.checkpoint import Tensor, parameters
from pipeline.model.tensors import check_tensors
from pipeline.pictures import phi3v, phi4mm
from pipeline.pictures.parts import Parts
from tests.support.phi3v import REAL
from tests.support.pictures import fetched
from tests.support.tiny import ROOT

NOWHERE = Path("nowhere")
WHOLE = {"phi-3.5-vision": 4_146_621_440, "phi-4-multimodal": 5_574_460_384}  # parameters
BILLIONS = {  # of them what a picture or a sound goes through
    ("phi-3.5-vision", "vision"): 0.31,
    ("phi-4-multimodal", "vision"): 0.41,
    ("phi-4-multimodal", "speech"): 0.45,
}


def headers(name: str) -> dict[str, Tensor]:
    """Of a full-size checkpoint, whose tensors lie nowhere."""
    config = MULTIMODAL[name]
    return {
        tensor: Tensor(NOWHERE, "BF16", size, 0, 2 * math.prod(size))
        for tensor, size in multimodal.laid_out(tensors(config), config)
    }


def parted(name: str, modality: str) -> Parts:
    config, held = MULTIMODAL[name], headers(name)
    if config["model_type"] == multimodal.PHI3V:
        return phi3v.parted(held, config, NOWHERE)
    return phi4mm.parted(held, config, NOWHERE, modality)


@pytest.mark.parametrize(("name", "modality"), BILLIONS)
def test_a_full_size_checkpoint_has_the_parameters_of_the_real_one(name: str, modality: str) -> None:
    import yaml

    assert parameters(headers(name)) == WHOLE[name]
    found = parted(name, modality)
    conf = yaml.safe_load((ROOT / f"conf/model/{name}.yaml").read_text(encoding="utf-8"))[name.replace(".", "-")]
    assert parameters(found.text) == conf["parameters"]
    assert round(parameters(found.beside) / 1e9, 2) == BILLIONS[name, modality]
    said = {**MULTIMODAL[name], "architectures": ["Phi3ForCausalLM"], "model_type": "phi3"}
    check_tensors(found.text, canonical_config({**said, "rms_norm_eps": 1e-5, "hidden_act": "silu"}), "nowhere")


def test_its_tower_has_the_names_of_the_real_one() -> None:
    names = {name for name in headers("phi-3.5-vision") if "vision_embed_tokens" in name}
    assert {name for name in names if ".layers." not in name or ".layers.0." in name} == set(REAL)


@pytest.mark.parametrize(("name", "modality"), BILLIONS)
def test_a_written_one_is_taken_by_fetch(
    name: str, modality: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = MULTIMODAL["phi-4-multimodal"]["audio_processor"]
    narrow = {"attention_dim": 32, "linear_units": 48, "num_blocks": 2, "nemo_conv_settings": {"conv_channels": 32}}
    small = MULTIMODAL[name] | {
        "hidden_size": 2 * MULTIMODAL[name]["hidden_size"] // MULTIMODAL[name]["num_attention_heads"],
        "intermediate_size": 64,
        "vocab_size": 3000,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "audio_processor": {**audio, "config": {**audio["config"], **narrow}},
    }
    monkeypatch.setitem(MULTIMODAL, name, small)
    for tower in (multimodal.CLIP, multimodal.SIGLIP):
        for field, size in (("hidden_size", 32), ("intermediate_size", 48), ("num_hidden_layers", 2)):
            monkeypatch.setitem(tower, field, size)
    monkeypatch.setattr(make_checkpoint, "SHARD", 1_000_000)
    write_checkpoint(tmp_path / "source", name, layers=2)
    assert len(list((tmp_path / "source").glob("*.safetensors"))) > 1
    model = fetched(tmp_path / "source", tmp_path / "fetched" / "model", modality)
    assert read_json(model / modality / "config.json")["tower"]["hidden_size"] == 32
    assert read_json(model / "config.json")["num_hidden_layers"] == 2


@pytest.mark.parametrize(
    ("words", "said"), [(["phi-9", "new"], "invalid choice: 'phi-9'"), (["phi-3.5-vision", "."], "is there already")]
)
def test_what_cannot_be_written_is_refused(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_checkpoint.py", *words])
    with pytest.raises(SystemExit) as ended:
        make_checkpoint.main()
    assert ended.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.slow
def test_a_tower_of_full_size_is_converted_within_the_texts_bound(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "phi", "phi-3.5-vision", layers=2)
    copy_project(tmp_path / "project")
    peak = measure(tmp_path / "project", tmp_path / "phi", "int4-plain", "onnxruntime", modality="vision")
    shutil.rmtree(tmp_path / "phi")
    assert peak["peak_anon_mb"] < 1000 + 2 * 4 * 32064 * 3072 / 1e6 + peak["disk_mb"]["tower"]
