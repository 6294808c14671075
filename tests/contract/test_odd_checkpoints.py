"""An odd checkpoint is computed as transformers computes the folder as it came, or planning leaves it out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.backends.registry import backends, load_backend
from pipeline.entries import Fetch
from pipeline.model.canonical import unhonoured
from pipeline.model.dimensions import dimensions_of, read_config
from pipeline.types import Checkpoint
from stages.fetch.fetch import fetch
from tests.contract.contract import reference_of
from tests.contract.test_family import FP32
from tests.support.backends import conf_of
from tests.support.odd import write_odd

COMPUTED_OTHERWISE = (
    "attention_factor",
    "factor",
    "partial rotary",
    "odd rotary",
    "head_dim",
    "gelu",
    "tied with its own head",
)
LEFT_OUT = {
    ("odd rotary", "onnxruntime"): "rotary_pairs is 12, onnxruntime computes multiples of 8",
    ("gelu", "llamacpp"): "hidden_act is gelu, llamacpp computes silu",
    ("gelu", "mlx"): "hidden_act is gelu, mlx computes silu",
    ("head_dim", "llamacpp"): "head_dim is 48, llamacpp computes what other fields give",
    ("head_dim", "mlx"): "head_dim is 48, mlx computes what other fields give",
    ("factor", "mlx"): "attention_factor is 1.224744871391589, mlx computes what other fields give",
    ("attention_factor", "mlx"): "attention_factor is 1.3, mlx computes what other fields give",
}


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("name", COMPUTED_OTHERWISE)
def test_it_is_left_out_with_its_cause_or_agrees_with_transformers(name: str, backend: str, tmp_path: Path) -> None:
    source, folder, out = write_odd(name, tmp_path / "source"), tmp_path / "canonical", tmp_path / "export"
    found = dimensions_of(read_config(source), "planning").traits
    said = unhonoured(found, conf_of(backend).get("honours", {}), backend)
    assert said == LEFT_OUT.get((name, backend))
    if said:
        return
    folder.mkdir()
    out.mkdir()
    (folder / "manifest.json").write_text(json.dumps(fetch("odd", Fetch(str(source), "", "", False), folder)))
    checkpoint = Checkpoint("odd", folder, source, read_config(folder))
    load_backend(backend).convert(checkpoint, FP32[backend], out)
    ids = np.random.default_rng(3).integers(3, 2000, (1, 200))
    hidden, matrix = reference_of(source, ids)
    expected = hidden[0] @ matrix.T
    with load_backend(backend).open(out) as session:
        assert np.abs(session.logits(ids)[0] - expected).max() / expected.std() < 5e-3
