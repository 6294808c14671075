"""The reference layer by layer is the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.model.checkpoint import read_output_matrix
from pipeline.model.greedy import answers
from pipeline.model.greedy_by_layer import Prompt, answers_by_layer
from pipeline.model.layer_by_layer import final_states
from pipeline.model.loading import load_model
from tests.contract.contract import reference_of
from tests.contract.test_family import MODELS
from tests.support.tiny import write_canonical


@pytest.mark.parametrize("model", MODELS)
def test_it_is_what_transformers_computes_whole(model: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {**MODELS[model], "num_hidden_layers": 2}
    write_canonical(tmp_path / "model", **changes)
    random = np.random.default_rng(0)
    sequences = [random.integers(3, 2000, length) for length in (300, 17, 64)]
    seen: list[tuple[int, int]] = []
    states = final_states(
        tmp_path / "model", tmp_path / "model", sequences, tmp_path / "scratch", lambda *at: seen.append(at)
    )
    assert seen == [(1, 2), (2, 2)]
    for sequence, state in zip(sequences, states, strict=True):
        hidden, _ = reference_of(tmp_path / "model", sequence[None])
        assert state.shape == hidden[0].shape and np.abs(state - hidden[0]).max() < 1e-4 * hidden.std()


@pytest.mark.parametrize("model", MODELS)
def test_its_answers_are_those_of_the_whole_model(model: str, tmp_path: Path) -> None:
    """Chats of several lengths side by side, over a sliding window's end and over LongRoPE's original length."""
    changes: dict[str, Any] = {**MODELS[model], "num_hidden_layers": 2}
    folder = tmp_path / "model"
    write_canonical(folder, **changes)
    random = np.random.default_rng(0)
    texts = [random.integers(3, 2000, length) for length in (250, 17, 30, 190, 300)]
    whole = load_model(folder, folder, "float32")
    plain = answers(whole, [text.tolist() for text in texts], 12, ())
    stop = plain[1][3]
    wanted = [*plain, *answers(whole, [texts[1].tolist()], 12, {stop})]
    matrix, _ = read_output_matrix(folder)
    prompts = [*(Prompt(text, 12) for text in texts), Prompt(texts[1], 12, {stop})]
    scratch, seen = tmp_path / "scratch", list[tuple[int, int]]()
    found = answers_by_layer(
        folder, folder, prompts, lambda rows: rows @ matrix.T, scratch, lambda *at: seen.append(at)
    )
    assert found == wanted and len(found[-1]) == plain[1].index(stop) + 1 < 12
    assert seen[-1] == (12, 12) and [path.name for path in tmp_path.iterdir()] == ["model"]
