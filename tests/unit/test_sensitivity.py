"""What an error in a matrix costs, resumed in the middle of a model, is what it costs in the whole model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.calibration.gptq import relative_error
from pipeline.calibration.moments import matrices
from pipeline.model.checkpoint import EMBEDDING, HEAD
from pipeline.search.sensitivity import fisher, insertion, rounded
from tests.support.tiny import write_canonical


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_canonical(folder, num_hidden_layers=2, tie_word_embeddings=request.param)
    return folder


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(3, 2000, (2, 48))


def divergence(folder: Path, ids: np.ndarray, name: str, values: np.ndarray) -> float:
    """KL per token of transformers' whole model with other values in one matrix."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if name == HEAD:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())  # a tied one is lm_head's alone
    with torch.inference_mode():
        clean = torch.log_softmax(model(torch.from_numpy(ids)).logits.double(), -1)
        model.get_parameter(name).copy_(torch.from_numpy(np.ascontiguousarray(values.T)))
        own = torch.log_softmax(model(torch.from_numpy(ids)).logits.double(), -1)
        return float((clean.exp() * (clean - own)).sum(-1).mean())


def test_an_inserted_error_costs_what_transformers_says(folder: Path, ids: np.ndarray, tmp_path: Path) -> None:
    found = insertion(folder, folder, ids, tmp_path, 0, lambda *_: None, rounded)
    random = np.random.default_rng(0)
    compared = 0
    for matrix in matrices(folder, folder, ids, tmp_path, lambda *_: None):
        if matrix.name == EMBEDDING or matrix.moments is None:
            continue
        weights = np.ascontiguousarray(matrix.weights().T)
        values = rounded(weights, matrix.moments, random)
        expected = divergence(folder, ids, matrix.name, values) / relative_error(weights, values, matrix.moments)
        assert found[matrix.name] == pytest.approx(expected, rel=0.05), matrix.name
        compared += 1
    assert compared == 9 and found.keys() >= {EMBEDDING, HEAD}


def test_fisher_ranks_as_noise_does(folder: Path, ids: np.ndarray, tmp_path: Path) -> None:
    from scipy.stats import spearmanr

    from pipeline.search.sensitivity import noisy

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    quick = fisher(folder, folder, ids, tmp_path / "a", 0, lambda *_: None)
    truth = insertion(folder, folder, ids, tmp_path / "b", 0, lambda *_: None, noisy)
    assert quick.keys() == truth.keys() and all(value > 0 for value in quick.values())
    names = sorted(truth)
    assert spearmanr([quick[name] for name in names], [truth[name] for name in names]).statistic > 0.8
