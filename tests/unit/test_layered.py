"""The reference layer by layer is the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.model.layer_by_layer import final_states
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
