"""A fine-tune by adapter is the model that PEFT makes of the two; what does not fit is one clear line."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from pipeline.entries import Fetch
from pipeline.errors import CheckpointError
from pipeline.model.dimensions import dimensions
from pipeline.model.loading import load_model
from pipeline.packaging.manifest import sha256
from stages.fetch.fetch import fetch
from tests.support.adapters import CONFIG, WEIGHTS, by_hand, retrained, train
from tests.support.edits import edit
from tests.support.tiny import tiny_config, write_checkpoint

IDS = np.random.default_rng(0).integers(3, 2000, (1, 40))
QKV, GATE_UP = "model.layers.0.self_attn.qkv_proj", "model.layers.0.mlp.gate_up_proj"
ALL = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
CASES: dict[str, dict[str, Any]] = {
    "lora": {"target_modules": ALL},
    "rslora and patterns": {
        "target_modules": ALL,
        "use_rslora": True,
        "rank_pattern": {"o_proj": 2, "mlp.down_proj": 6},
        "alpha_pattern": {"qkv_proj": 3},
    },
    "dora": {"target_modules": "all-linear", "use_dora": True},
    "an expression": {"target_modules": r".*\.layers\.0\..*(qkv|down)_proj"},
    "one layer of two": {"target_modules": ["o_proj"], "layers_to_transform": [1]},
    "tables and head": {"target_modules": ["qkv_proj", "embed_tokens", "lm_head"]},
    "saved": {"target_modules": ["o_proj"], "modules_to_save": ["embed_tokens", "lm_head", "norm"]},
    "resized": {"target_modules": ["o_proj"], "modules_to_save": ["embed_tokens", "lm_head"], "resize": 8},
    "resized, not asked for": {"target_modules": ["o_proj"], "resize": 8},
}
TIED: dict[str, dict[str, Any]] = {
    "tied": {"target_modules": ["o_proj"]},
    "tied, embedding saved": {"target_modules": ["o_proj"], "modules_to_save": ["embed_tokens"]},
    "tied, head saved": {"target_modules": ["o_proj"], "modules_to_save": ["lm_head"]},
    "tied, lora on head": {"target_modules": ["o_proj", "lm_head"]},
    "tied, lora on embedding": {"target_modules": ["o_proj", "embed_tokens"]},
}


def logits(model: Any) -> np.ndarray:
    import torch

    with torch.inference_mode():
        found: np.ndarray = model(torch.from_numpy(IDS)).logits.numpy()
    return found


def fetched(base: Path, adapter: Path, out: Path) -> dict[str, Any]:
    """What fetch leaves of the two, as planning lets it."""
    dimensions("tuned", {"path": str(base), "repo": "", "adapter": str(adapter)})
    out.mkdir()
    manifest = fetch("tuned", Fetch(str(base), "", "", False, str(adapter)), out)
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return manifest


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_peft_merges(name: str, tmp_path: Path) -> None:
    settings = CASES[name]
    layers = 2 if "layers_to_transform" in settings else 1
    base = write_checkpoint(tmp_path / "base", num_hidden_layers=layers)
    model = train(base, tmp_path / "adapter", **settings)
    before = logits(model.get_base_model() if "resize" in settings else load_model(base, base, "float32"))
    fetched(base, tmp_path / "adapter", tmp_path / "out")
    ours = logits(load_model(tmp_path / "out", tmp_path / "out", "float32"))
    theirs = logits(model.merge_and_unload())
    assert np.abs(ours - theirs).max() < 1e-6 * max(1, np.abs(theirs).max())
    assert before.shape != theirs.shape or "resize" in settings or np.abs(ours - before).max() > 1e-2


@pytest.mark.parametrize("name", TIED)
def test_tied_tables_are_as_they_were_trained(name: str, tmp_path: Path) -> None:
    """PEFT merges an update of a tied head into the embedding, too: the model that was trained is the measure."""
    base = write_checkpoint(tmp_path / "base", tie_word_embeddings=True)
    trained = logits(train(base, tmp_path / "adapter", **TIED[name]))
    fetched(base, tmp_path / "adapter", tmp_path / "out")
    ours = logits(load_model(tmp_path / "out", tmp_path / "out", "float32"))
    assert np.abs(ours - trained).max() < 1e-5
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is (name == "tied")


def test_parts_go_into_their_rows_of_the_fused_matrices(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    shapes = {"self_attn.q_proj": 256, "self_attn.k_proj": 128, "self_attn.v_proj": 128, "mlp.gate_proj": 256}
    modules = {f"model.layers.0.{name}": (rows, 256) for name, rows in (*shapes.items(), ("mlp.up_proj", 256))}
    fetched(base, by_hand(base, tmp_path / "adapter", modules), tmp_path / "out")
    old, new = load_file(base / "model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    factors = load_file(tmp_path / "adapter" / WEIGHTS)

    def delta(module: str) -> np.ndarray:
        a, b = (factors[f"base_model.model.{module}.lora_{letter}.weight"] for letter in "AB")
        return b @ a * 2

    names = list(modules)
    for fused, parts in ((QKV, names[:3]), (GATE_UP, names[3:])):
        wanted = old[f"{fused}.weight"] + np.concatenate([delta(part) for part in parts])
        assert np.abs(new[f"{fused}.weight"] - wanted).max() < 1e-6
    untouched = [name for name in old if "qkv" not in name and "gate_up" not in name]
    assert all((old[name] == new[name]).all() for name in untouched)


def test_a_16_bit_base_stays_so_as_peft_rounds_it(tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file as load
    from transformers import AutoModelForCausalLM

    for dtype in (torch.bfloat16, torch.float16):
        root = tmp_path / str(dtype)
        plain = write_checkpoint(root / "plain")
        base = root / "base"
        AutoModelForCausalLM.from_pretrained(plain, dtype=dtype).save_pretrained(base)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (base / name).write_bytes((plain / name).read_bytes())
        train(plain, root / "adapter", target_modules=ALL)
        fetched(base, root / "adapter", root / "out")
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), root / "adapter")
        theirs, ours = model.merge_and_unload().state_dict(), load(root / "out/model.safetensors")
        for name, tensor in ours.items():
            assert tensor.dtype == dtype
            assert (tensor != theirs[name]).float().mean() < 1e-3, name  # sums on the edge of two roundings


def test_the_adapters_tokenizer_comes_with_it_and_digests_name_all(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    train(base, tmp_path / "adapter", target_modules=["o_proj"], resize=8)
    said = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    more = {**said["added_tokens"][-1], "id": 2048, "content": "<|tool|>"}
    said["added_tokens"].append(more)
    (tmp_path / "adapter/tokenizer.json").write_text(json.dumps(said), encoding="utf-8")
    manifest = fetched(base, tmp_path / "adapter", tmp_path / "out")
    out = json.loads((tmp_path / "out/tokenizer.json").read_text(encoding="utf-8"))
    assert out["added_tokens"][-1]["content"] == "<|tool|>"
    assert (tmp_path / "out/chat_template.jinja").is_file()
    assert json.loads((tmp_path / "out/config.json").read_text())["vocab_size"] == 2056
    assert manifest["weights"] == {"model.safetensors": sha256(base / "model.safetensors")}
    assert manifest["adapter"]["sha256"][WEIGHTS] == sha256(tmp_path / "adapter" / WEIGHTS)
    assert (manifest["adapter"]["source"], manifest["adapter"]["base"]) == ("adapter", "base")


A, B = (f"base_model.model.{QKV}.lora_{letter}.weight" for letter in "AB")
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "other shapes": (
        retrained(lambda t: t.update({A: np.ones((4, 512), np.float32)})),
        f"{QKV} is changed by a matrix [512, 512], the base's is [512, 256]: an adapter for another base",
    ),
    "unknown module": (
        retrained(lambda t: t.update({A.replace("qkv_proj", "query"): t[A], B.replace("qkv_proj", "query"): t[B]})),
        "query, which the base has not: an adapter for another base",
    ),
    "more layers": (
        retrained(lambda t: t.update({A.replace("s.0", "s.5"): t[A], B.replace("s.0", "s.5"): t[B]})),
        "layers.5.self_attn.qkv_proj, which the base has not",
    ),
    "missing tensor": (retrained(lambda t: t.pop(B)), f"lora_B of {QKV} is missing"),
    "missing module": (
        lambda f: edit(f / CONFIG, target_modules=["qkv_proj", "o_proj"]),
        "its target_modules have model.layers.0.self_attn.o_proj, whose tensors are missing",
    ),
    "extra module": (lambda f: edit(f / CONFIG, target_modules=["o_proj"]), "which target_modules leave out"),
    "extra tensor": (
        retrained(lambda t: t.update({A.replace("lora_A.weight", "lora_C"): t[A]})),
        "it holds a tensor that is not supported here",
    ),
    "not saved": (lambda f: edit(f / CONFIG, modules_to_save=["lm_head"]), "modules_to_save has lm_head, whose tensor"),
    "NaN": (retrained(lambda t: t[A].__setitem__((0, 0), np.nan)), f"{A} has NaN or infinity in it"),
    "rank": (lambda f: edit(f / CONFIG, r=8), f"{QKV} has factors of rank 4 and 4, adapter_config.json says 8"),
    "rank of zero": (lambda f: edit(f / CONFIG, r=0), "r is 0, no number from 1"),
    "embedding alone": (
        retrained(lambda t: t.update({"base_model.model.model.embed_tokens.weight": np.ones((2056, 256), np.float32)})),
        "its embedding has 2056 rows, the base's lm_head 2048",
    ),
    "pickled": (lambda f: (f / WEIGHTS).rename(f / "adapter_model.bin"), "only pickled weights (adapter_model.bin)"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "it has no adapter_model.safetensors"),
    "cut": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-4]), "the shard is truncated"),
    "no config": (lambda f: (f / CONFIG).unlink(), "it has no adapter_config.json"),
    "no JSON": (lambda f: (f / CONFIG).write_text("{"), "adapter_config.json is corrupt"),
    "bias": (lambda f: edit(f / CONFIG, bias="all"), "bias 'all' is not supported"),
    "prefix tuning": (lambda f: edit(f / CONFIG, peft_type="PREFIX_TUNING"), "peft_type 'PREFIX_TUNING' is not"),
    "pissa": (lambda f: edit(f / CONFIG, init_lora_weights="pissa"), "trains on another base than the one given"),
    "a word of its own": (lambda f: edit(f / CONFIG, use_qalora=True), "use_qalora is not supported (True)"),
    "a pattern": (lambda f: edit(f / CONFIG, rank_pattern={"(": 2}), "'(' does not compile"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused_in_one_line_before_anything_is_written(name: str, tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    adapter = by_hand(base, tmp_path / "adapter", {QKV: (512, 256)})
    change, words = BAD[name]
    change(adapter)
    with pytest.raises(CheckpointError) as caught:
        fetched(base, adapter, tmp_path / "out")
    assert words in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert not list((tmp_path / "out").glob("*"))
    assert (tmp_path / "out").exists() is (name == "NaN")  # all else is seen while planning


def test_a_quantized_base_is_refused_while_planning(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    adapter = by_hand(base, tmp_path / "adapter", {QKV: (512, 256)})
    edit(base / "config.json", quantization_config={"quant_method": "awq"})
    with pytest.raises(CheckpointError, match=r"quantization_config \(awq\)"):
        fetched(base, adapter, tmp_path / "out")


def test_another_name_of_a_base_that_fits_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = write_checkpoint(tmp_path / "base")
    for number, (said, warned) in enumerate((("who/knows", True), ("org/Base", False), (None, False))):
        adapter = by_hand(base, tmp_path / f"a{number}", {QKV: (512, 256)}, base_model_name_or_path=said)
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            fetched(base, adapter, tmp_path / f"out{number}")
        assert ("its base is who/knows" in caplog.text) is warned


def test_planning_knows_how_many_tokens_it_brings(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    train(base, tmp_path / "adapter", target_modules=["o_proj"], resize=8)
    found = dimensions("tuned", {"path": str(base), "repo": "", "adapter": str(tmp_path / "adapter")})
    assert found.vocab_size == tiny_config()["vocab_size"] + 8
