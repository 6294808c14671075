"""Scales that are trained: what is built with them says more nearly what the checkpoint says, at the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.backends.base import Calibration
from pipeline.backends.registry import load_backend
from pipeline.calibration.distilled import APART, _scaled, distilled
from pipeline.calibration.gptq import Grid, Quantized, quantize
from pipeline.calibration.integers import grid, quantized
from pipeline.calibration.moments import matrices
from pipeline.files import size_of
from pipeline.metrics.divergence import score_window, totals
from pipeline.model.checkpoint import EMBEDDING, HEAD
from pipeline.model.texts import windows
from pipeline.model.tokenizer import load_tokenizer
from tests.contract.contract import reference_of
from tests.contract.test_formats import checkpoint_of, form_of, recipe_of, table_of
from tests.support.backends import order
from tests.support.tiny import ROOT

TEXT = np.tile(np.random.default_rng(0).integers(3, 2000, (2, 48)), (4, 1))  # of noise nothing else can be learnt


@pytest.mark.parametrize(("name", "tied"), [("onnxruntime", True), ("openvino", False), ("openvino", True)])
def test_a_build_is_nearer_to_its_checkpoint_at_the_same_bytes(name: str, tied: bool, tmp_path: Path) -> None:
    """Measured in the runtime, so that what is trained is what is stored."""
    backend, checkpoint = load_backend(name), checkpoint_of(tmp_path / "model", tie_word_embeddings=tied)
    table = {key: "int8-128" if key in (EMBEDDING, HEAD) else "int4-128" for key in table_of(name, tied)}
    recipe, found = recipe_of(name, table), {}
    hidden, head = reference_of(checkpoint.folder, TEXT[:2])
    for epochs in (0, 4):
        out = tmp_path / str(epochs)
        out.mkdir()
        settings = {**recipe.settings, "distill_epochs": epochs}
        backend.stream(
            checkpoint, form_of(name), order(replace(recipe, settings=settings), out, Calibration(TEXT), checkpoint)
        )
        with backend.open(out) as session:
            scores = [
                score_window(row, session.logits(row[None])[0], hidden[at], head) for at, row in enumerate(TEXT[:2])
            ]
        found[epochs] = (totals(scores).kl_nats_mean, size_of(out))
    assert found[4][0] < 0.9 * found[0][0]
    assert abs(found[4][1] - found[0][1]) < 100


def test_a_text_that_it_has_not_seen_is_nearer_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped model in 4 bits; a minute's training is cut to seconds, with longer steps."""
    monkeypatch.setattr("pipeline.calibration.distilled.RATE", 5e-3)
    folder = ROOT / "models" / "phi-tiny"
    tokenizer = load_tokenizer(folder)
    seen = windows(tokenizer, ROOT / "data/phi-tiny/calibration.txt", 128, 128 * 24)
    other = windows(tokenizer, ROOT / "data/phi-tiny/evaluation.txt", 128, 128 * 8)
    parts = parts_of(folder, seen, tmp_path)
    trained = distilled(folder, folder, parts, seen, 2, lambda *_: None, tmp_path)
    assert divergence(folder, trained, other) < 0.7 * divergence(folder, parts, other)
    for key, (made,) in trained.items():
        before = parts[key][0]
        assert np.array_equal(made.integers, before.integers) and np.array_equal(made.zeros, before.zeros)
        assert np.array_equal(made.scales, made.scales.astype(np.float16)) and (made.scales != 0).all()
        assert (made is before) == (key in (EMBEDDING, HEAD))


def test_training_that_does_not_help_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.calibration.distilled.RATE", 10.0)  # scales leap away
    folder = ROOT / "models" / "phi-tiny"
    seen = windows(load_tokenizer(folder), ROOT / "data/phi-tiny/calibration.txt", 64, 64 * APART)
    parts = parts_of(folder, seen, tmp_path)
    assert distilled(folder, folder, parts, seen, 1, lambda *_: None, tmp_path) == parts
    assert distilled(folder, folder, parts, seen[:1], 1, lambda *_: None, tmp_path) == parts  # nothing to keep apart


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_are_those_of_the_weights_written_out(symmetric: bool) -> None:
    """With a last group that is short, and two parts of one matrix."""
    import torch

    draw = np.random.default_rng(2)
    made = [made_of(draw, 40, outputs, Grid(4, 16, symmetric)) for outputs in (6, 3)]
    layer, inputs = _scaled(made), torch.from_numpy(draw.normal(size=(5, 40)).astype(np.float32)).requires_grad_(True)
    outer = torch.from_numpy(draw.normal(size=(5, 9)).astype(np.float32))
    layer(inputs).backward(outer)
    again = inputs.detach().clone().requires_grad_(True)
    scales = [torch.from_numpy(part.scales).requires_grad_(True) for part in made]
    groups = torch.arange(40) // 16
    weights = [
        torch.from_numpy(part.integers.astype(np.float32) - part.zeros[groups]) * each[groups]
        for part, each in zip(made, scales, strict=True)
    ]
    (again @ torch.cat(weights, 1)).backward(outer)
    torch.testing.assert_close(inputs.grad, again.grad)
    for own, wanted in zip(layer.scales, scales, strict=True):
        torch.testing.assert_close(own.grad, wanted.grad)


def made_of(draw: np.random.Generator, inputs: int, outputs: int, on: Grid) -> Quantized:
    return quantize(draw.normal(size=(inputs, outputs)).astype(np.float32), np.eye(inputs, dtype=np.float32), on)


def parts_of(folder: Path, ids: np.ndarray, scratch: Path) -> dict[str, list[Quantized]]:
    return {
        each.name: [
            quantized(
                np.ascontiguousarray(each.weights().T),
                each.moments,
                grid("int8-32" if each.name in (EMBEDDING, HEAD) else "int4-64"),
            )
        ]
        for each in matrices(folder, folder, ids, scratch, lambda *_: None)
    }


def divergence(folder: Path, parts: dict[str, list[Quantized]], ids: np.ndarray) -> float:
    """Mean KL in nats, with transformers' model of the values."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = torch.from_numpy(ids)
    with torch.no_grad():
        there = model(tokens).logits.log_softmax(-1)
        for name, (part,) in parts.items():
            model.get_parameter(name).copy_(torch.from_numpy(part.values().T))
        here = model(tokens).logits.log_softmax(-1)
    return float((there.exp() * (there - here)).sum(-1).mean())
