"""llama.cpp keeps the contract; its files are what llama.cpp's own script writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from pipeline.backends.base import Calibration, RuntimeRequest
from pipeline.backends.llamacpp.backend import LlamaCppBackend
from pipeline.backends.llamacpp.imatrix import collect
from pipeline.errors import ArtifactError, CheckpointError, ConfigError, ToolError
from pipeline.fresh import ask_runtime
from pipeline.recipes import parse_recipe
from pipeline.tokenizer import PROBES, encode, load_tokenizer
from pipeline.types import Checkpoint, Family, Recipe
from tests.contract.contract import BackendContract, Workshop, reference_of
from tests.support.tiny import ROOT, tiny_config, write_checkpoint


class TestLlamaCpp(BackendContract):
    name = "llamacpp"
    kl_bound = {**BackendContract.kl_bound, "int6": 2e-2, "int5": 5e-2, "int3": 0.5, "int2": 2.0}

    def test_users_get_a_cache_in_16_bits(self, workshop: Workshop) -> None:
        build, _ = workshop.build(workshop.recipe("fp32", "default"))
        ids = np.arange(3, 35)[None]
        with workshop.backend.open(build) as accurate, workshop.backend.open(build, default_mode=True) as default:
            assert (accurate.settings["kv_cache"], default.settings["kv_cache"]) == ("f32", "f16")
            apart = np.abs(accurate.logits(ids) - default.logits(ids)).max()
        assert 0 < apart < 0.1

    def test_it_reports_what_llama_bench_does(self, workshop: Workshop) -> None:
        build, _ = workshop.build(workshop.recipe("int4", "default"))
        request = RuntimeRequest("measure", [list(range(3, 35))], 6, threads=1, warmup=0, runs=2)
        extra = ask_runtime(self.name, build, request).value["extra"]
        assert set(extra) == {"prefill_512_tokens_per_s", "decode_128_tokens_per_s"}
        assert all(len(runs) == 2 and min(runs) > 0 for runs in extra.values())


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An F32 file of a one-layer random model."""
    return converted(tmp_path_factory.mktemp("llamacpp"))


def checkpoint_in(root: Path, **changes: Any) -> Checkpoint:
    folder = write_checkpoint(root / "model", **changes)
    return Checkpoint("tiny", folder, folder, tiny_config(**changes))


def converted(root: Path, kind: str = "F32", **changes: Any) -> Path:
    out = root / "export"
    out.mkdir()
    LlamaCppBackend().convert(checkpoint_in(root, **changes), {"type": kind}, out)
    return out


def build(export: Path, out: Path, calibration: Calibration | None = None, **settings: Any) -> Any:
    out.mkdir(exist_ok=True)
    recipe = Recipe("test", Family.INT4, "gguf", "fp32", settings)
    return LlamaCppBackend().quantize(export, recipe, calibration, out, lambda *_: None)


def contents(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    reader = gguf.GGUFReader(next(folder.glob("*.gguf")))
    keys = {name: (field.types, field.contents()) for name, field in reader.fields.items()}
    tensors = {t.name: (t.tensor_type, tuple(t.shape), t.data.tobytes()) for t in reader.tensors}
    return keys, tensors


LONGROPE = {
    "max_position_embeddings": 2048,
    "original_max_position_embeddings": 256,
    "rope_scaling": {
        "type": "longrope",
        "rope_type": "longrope",
        "short_factor": [1.0 + i / 100 for i in range(16)],
        "long_factor": [2.0 + i for i in range(16)],
        "original_max_position_embeddings": 256,
        "rope_theta": 50000.0,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}, LONGROPE], ids=["plain", "tied", "longrope"])
def test_the_writer_agrees_with_llama_cpps_script(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    """Set LLAMA_CPP_ROOT to a checkout: the llama-cpp-python source package holds one in vendor/llama.cpp."""
    root = os.environ.get("LLAMA_CPP_ROOT")
    if not root:
        pytest.skip("LLAMA_CPP_ROOT names no llama.cpp checkout")
    ours = converted(tmp_path, kind, **changes)
    theirs = tmp_path / "script"
    theirs.mkdir()
    folder = tmp_path / "model"
    checkpoint = Checkpoint("tiny", folder, folder, tiny_config(**changes))
    LlamaCppBackend().convert(checkpoint, {"type": kind, "root": root}, theirs)
    our_keys, our_tensors = contents(ours)
    their_keys, their_tensors = contents(theirs)
    assert our_keys == their_keys
    assert our_tensors == their_tensors


def test_a_file_says_what_the_checkpoint_is(export: Path) -> None:
    keys, tensors = contents(export)
    config = tiny_config()
    assert keys["phi3.embedding_length"][1] == config["hidden_size"]
    assert keys["phi3.attention.head_count_kv"][1] == config["num_key_value_heads"]
    assert "phi-3" in keys["general.name"][1].lower()  # llama.cpp strips behind chat tokens by this name
    assert tensors["token_embd.weight"][1] == (config["hidden_size"], config["vocab_size"])
    assert len(tensors) == 9


@pytest.mark.parametrize("length", [200, 400], ids=["within", "beyond"])
def test_longrope_agrees_on_both_sides_of_the_original_length(tmp_path: Path, length: int) -> None:
    export = converted(tmp_path, **LONGROPE)
    ids = np.random.default_rng(5).integers(3, 2000, (1, length))
    hidden, matrix = reference_of(tmp_path / "model", ids)
    with LlamaCppBackend().open(export) as session:
        assert np.abs(session.logits(ids)[0] - hidden[0] @ matrix.T).max() < 2e-3


def test_tied_embeddings_are_stored_once(tmp_path: Path) -> None:
    export = converted(tmp_path, tie_word_embeddings=True)
    assert "output.weight" not in contents(export)[1]
    ids = np.arange(3, 35)[None]
    hidden, matrix = reference_of(tmp_path / "model", ids)
    with LlamaCppBackend().open(export) as session:
        assert np.abs(session.logits(ids)[0] - hidden[0] @ matrix.T).max() < 2e-3


def test_its_tokenizer_is_the_checkpoints(export: Path) -> None:
    from llama_cpp import Llama

    model = Llama(str(export / "model.gguf"), vocab_only=True, verbose=False)
    ours = load_tokenizer(ROOT / "models" / "phi-tiny")
    for text in (*PROBES, "<|user|>\nWho are you?<|end|>\n<|assistant|>\n"):
        assert model.tokenize(text.encode(), add_bos=False, special=True) == encode(ours, text)


def test_byte_level_bpe_is_the_checkpoints_tokenizer(tmp_path: Path) -> None:
    """Phi-4's kind of tokenizer: byte-level BPE with GPT-4o's regular expression, no SentencePiece model."""
    from llama_cpp import Llama

    folder = write_checkpoint(tmp_path / "model", vocab_size=600)
    tokenizer = bpe_tokenizer(folder)
    (tmp_path / "out").mkdir()
    LlamaCppBackend().convert(
        Checkpoint("phi-4-like", folder, folder, tiny_config(vocab_size=600)), {"type": "F16"}, tmp_path / "out"
    )
    keys, _ = contents(tmp_path / "out")
    assert keys["tokenizer.ggml.model"][1] == "gpt2" and keys["tokenizer.ggml.pre"][1] == "gpt-4o"
    model = Llama(str(tmp_path / "out/model.gguf"), vocab_only=True, verbose=False)
    for text in (*PROBES, "<|user|>Who are you?<|end|><|assistant|>"):
        assert model.tokenize(text.encode(), add_bos=False, special=True) == encode(tokenizer, text), text


def bpe_tokenizer(folder: Path) -> Any:
    """Train a tiny byte-level BPE into a checkpoint folder, in place of its tokenizer."""
    import json

    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    pattern = (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=560, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(PROBES * 3, trainer)
    added = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>")
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in added])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer.model").unlink()
    words = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(words), encoding="utf-8")
    return tokenizer


def test_an_unknown_pre_tokenizer_is_refused(tmp_path: Path) -> None:
    import json

    folder = write_checkpoint(tmp_path / "model", vocab_size=600)
    bpe_tokenizer(folder)
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    described["pre_tokenizer"] = {"type": "Whitespace"}
    (folder / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    (tmp_path / "out").mkdir()
    checkpoint = Checkpoint("tiny", folder, folder, tiny_config(vocab_size=600))
    with pytest.raises(CheckpointError, match="pre-tokenizer is not known"):
        LlamaCppBackend().convert(checkpoint, {"type": "F16"}, tmp_path / "out")


def test_q4_k_m_is_the_mixture_that_people_know(export: Path, tmp_path: Path) -> None:
    stats = build(export, tmp_path / "out", type="Q4_K_M")
    types = Counter(kind.name for kind, shape, _ in contents(tmp_path / "out")[1].values() if len(shape) == 2)
    assert types == {"Q4_K": 4, "Q6_K": 1, "Q5_K": 1} or types["Q4_K"] >= 3
    assert stats.operators == 6 and stats.kept == {"embedding": "Q4_K", "lm_head": "Q6_K"}
    assert 4.5 < stats.bits_per_weight < 6.6


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


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", "cut or corrupt|cannot load"),
        ("foreign", "no GGUF"),
        ("other", "a bert model, not phi3"),
        ("none", "0 .gguf"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_clear_line(export: Path, tmp_path: Path, damage: str, message: str) -> None:
    path = tmp_path / "model.gguf"
    raw = (export / "model.gguf").read_bytes()
    if damage == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    elif damage == "foreign":
        path.write_bytes(b"PK\x03\x04" + raw[4:])
    elif damage == "other":
        writer = gguf.GGUFWriter(path, "bert")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    with pytest.raises(ArtifactError, match=message) as caught, LlamaCppBackend().open(tmp_path) as session:
        session.logits(np.arange(3, 9)[None])
    assert len(str(caught.value).splitlines()) == 1


def test_a_tensor_that_phi3_does_not_have_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    checkpoint = checkpoint_in(tmp_path)
    tensors = {**load_file(checkpoint.shards[0]), "model.vision.proj.weight": np.ones((4, 4), np.float32)}
    save_file(tensors, checkpoint.shards[0], metadata={"format": "pt"})
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="no place for tensor model.vision.proj.weight"):
        LlamaCppBackend().convert(checkpoint, {"type": "F16"}, tmp_path / "out")


def test_an_unknown_type_is_refused_while_planning() -> None:
    with pytest.raises(ConfigError, match="Q4_K_X"):
        parse_recipe("test", Family.INT4, {"method": "gguf", "form": "fp32", "type": "Q4_K_X"}, "here")


def test_a_checkout_without_the_script_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="there is no convert_hf_to_gguf.py"):
        LlamaCppBackend().convert(checkpoint_in(tmp_path), {"type": "F16", "root": str(tmp_path)}, tmp_path / "out")


def test_a_checkout_whose_script_fails_is_one_readable_line(tmp_path: Path) -> None:
    (tmp_path / "convert_hf_to_gguf.py").write_text("raise SystemExit('no such luck')", encoding="utf-8")
    (tmp_path / "out").mkdir()
    with pytest.raises(ToolError, match="no such luck"):
        LlamaCppBackend().convert(checkpoint_in(tmp_path), {"type": "F16", "root": str(tmp_path)}, tmp_path / "out")


def test_the_package_is_named_as_the_community_does_and_runs_when_pasted(tmp_path: Path) -> None:
    export = converted(tmp_path, "F16", sliding_window=512)
    package = tmp_path / "my-package"
    package.mkdir()
    backend = LlamaCppBackend()
    checkpoint = Checkpoint("phi-tiny", tmp_path / "model", tmp_path / "model", tiny_config(sliding_window=512))
    backend.package(export, checkpoint, {}, package)
    assert sorted(path.name for path in package.iterdir()) == ["Modelfile", "phi-tiny-F16.gguf"]
    lines = (package / "Modelfile").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "FROM ./phi-tiny-F16.gguf" and "PARAMETER num_ctx 512" in lines
    assert 'PARAMETER stop "<|end|>"' in lines
    code = backend.run_instruction(tmp_path, "my-package").partition("```python\n")[2].partition("```")[0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_the_runtime_process_imports_its_runtime_alone(export: Path) -> None:
    code = (
        "import io, json, sys\n"
        f"sys.argv = ['runtime', {str(export)!r}]\n"
        "sys.stdin = io.StringIO(json.dumps(dict(task='generate', prompts=[[5, 6]], new_tokens=2, threads=1)))\n"
        "from pipeline.backends.llamacpp.runtime import main\n"
        "code = main()\n"
        "heavy = {'torch', 'transformers', 'onnx', 'gguf', 'mlflow', 'hydra'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
