"""GGUF files of a checkpoint: what llama.cpp's own script writes, tokenizer included."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.backends.llamacpp.backend import LlamaCppBackend
from pipeline.errors import CheckpointError, ConfigError, ToolError
from pipeline.model.tokenizer import PROBES, encode, load_tokenizer
from pipeline.types import Checkpoint
from tests.contract.contract import reference_of
from tests.support.gguf_files import LONGROPE, checkpoint_in, contents, converted
from tests.support.tiny import ROOT, tiny_config, write_checkpoint


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An F32 file of a one-layer random model."""
    return converted(tmp_path_factory.mktemp("llamacpp"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}, LONGROPE], ids=["plain", "tied", "longrope"])
def test_the_writer_agrees_with_llama_cpps_script(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    """`make test-slow` has llama.cpp's sources at LLAMA_CPP_ROOT: those that llama-cpp-python is built of."""
    root = os.environ["LLAMA_CPP_ROOT"]
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


@pytest.mark.parametrize(("digits", "name"), [(True, "smollm"), (False, "gpt-2")])
def test_steps_of_tokenizers_have_llama_cpps_names(tmp_path: Path, digits: bool, name: str) -> None:
    """GPT-2's expression, with every digit split off before or not; no entry of llama.cpp's table."""
    from llama_cpp import Llama
    from tokenizers import pre_tokenizers

    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    steps = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_]) if digits else bytes_
    folder = write_checkpoint(tmp_path / "model", vocab_size=600)
    tokenizer = bpe_tokenizer(folder, steps)
    (tmp_path / "out").mkdir()
    checkpoint = Checkpoint("tiny", folder, folder, tiny_config(vocab_size=600))
    LlamaCppBackend().convert(checkpoint, {"type": "F16"}, tmp_path / "out")
    assert contents(tmp_path / "out")[0]["tokenizer.ggml.pre"][1] == name
    model = Llama(str(tmp_path / "out/model.gguf"), vocab_only=True, verbose=False)
    for text in (*PROBES, "In 1492,  3.14  ½ ² ⅷ ٣٤ 12345 a1b2\n\n 77 don't", "46 46 46"):
        assert model.tokenize(text.encode(), add_bos=False, special=True) == encode(tokenizer, text), text


def bpe_tokenizer(folder: Path, steps: Any = None) -> Any:
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
    tokenizer.pre_tokenizer = steps or pre_tokenizers.Sequence([split, bytes_])
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


def test_a_tensor_that_phi3_does_not_have_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    checkpoint = checkpoint_in(tmp_path)
    tensors = {**load_file(checkpoint.shards[0]), "model.vision.proj.weight": np.ones((4, 4), np.float32)}
    save_file(tensors, checkpoint.shards[0], metadata={"format": "pt"})
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="no place for tensor model.vision.proj.weight"):
        LlamaCppBackend().convert(checkpoint, {"type": "F16"}, tmp_path / "out")


def test_a_checkout_without_the_script_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="there is no convert_hf_to_gguf.py"):
        LlamaCppBackend().convert(checkpoint_in(tmp_path), {"type": "F16", "root": str(tmp_path)}, tmp_path / "out")


def test_a_checkout_whose_script_fails_is_one_readable_line(tmp_path: Path) -> None:
    (tmp_path / "convert_hf_to_gguf.py").write_text("raise SystemExit('no such luck')", encoding="utf-8")
    (tmp_path / "out").mkdir()
    with pytest.raises(ToolError, match="no such luck"):
        LlamaCppBackend().convert(checkpoint_in(tmp_path), {"type": "F16", "root": str(tmp_path)}, tmp_path / "out")
