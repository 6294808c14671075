"""The shipped model and its data are what their generator and card say."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.support.tiny import ROOT
from training import world
from training.questions import questions

MODEL = ROOT / "models" / "phi-tiny"
DATA = ROOT / "data" / "phi-tiny"


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return world.files()


def test_the_data_files_are_what_the_generator_writes(generated: dict[str, str]) -> None:
    assert {path.name for path in DATA.iterdir()} == set(generated)
    for name, text in generated.items():
        assert (DATA / name).read_text(encoding="utf-8") == text, name


def test_no_document_is_in_two_splits(generated: dict[str, str]) -> None:
    evaluation = set(generated["evaluation.txt"].split("\n\n"))
    calibration = set(generated["calibration.txt"].split("\n\n"))
    documents = world.documents("train", chats=True)
    training = {next(documents).text for _ in range(20_000)}
    assert len(evaluation) > 500
    assert not evaluation & calibration
    assert not evaluation & training
    assert not calibration & training


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.?!])\s+|Answer: |\|>\n?", text)


def test_no_question_is_answered_word_for_word_in_the_training_text() -> None:
    documents = world.documents("train", chats=True)
    training = {sentence for _ in range(20_000) for sentence in _sentences(next(documents).text)}
    for question in questions():
        opening = _sentences(question.question)[-1]
        assert f"{opening}{question.choices[question.answer]}." not in training


def test_the_weights_are_bfloat16_of_at_most_ten_megabytes() -> None:
    from safetensors import safe_open

    weights = MODEL / "model.safetensors"
    assert weights.stat().st_size < 10_000_000
    with safe_open(weights, "np") as tensors:
        kinds = {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
    assert kinds == {"BF16"}
    config = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Phi3ForCausalLM"]
    assert config["num_key_value_heads"] < config["num_attention_heads"]
    assert not config["hidden_size"] % 256
    assert not config["intermediate_size"] % 256


def test_both_tokenizer_files_encode_every_line_alike(generated: dict[str, str]) -> None:
    from sentencepiece import SentencePieceProcessor

    fast = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    pieces = SentencePieceProcessor(model_file=str(MODEL / "tokenizer.model"))
    lines = [*generated["evaluation.txt"].split("\n\n"), "naïve café – 東京 🚀", "  two  spaces\tand a tab"]
    for line in lines:
        assert fast.encode(line, add_special_tokens=False).ids == pieces.encode(line), line


def test_outlier_channels_leave_the_function_as_it_was() -> None:
    import torch

    from training import checkpoint, outliers

    model = checkpoint.fresh(0).eval()
    ids = torch.arange(3, 67)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits.numpy()
        outliers.add(model, seed=0)
        after = model(input_ids=ids).logits.numpy()
    assert np.array_equal(before, after)
    largest = max(layer.input_layernorm.weight.max().item() for layer in model.model.layers)
    assert largest > 4
