"""Tiny random checkpoints of every text model of the family, shaped as the real configs say, on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.backends.registry import backends, load_backend
from pipeline.types import Checkpoint
from tests.contract.contract import reference_of
from tests.support.tiny import write_canonical

ORIGINAL, LONGEST = 256, 8192  # the real ones are 4,096 and 131,072: the same ratio
FP32 = {
    "onnxruntime": {"precision": "fp32", "provider": "cpu"},
    "openvino": {"precision": "fp32"},
    "llamacpp": {"type": "F32"},
    "mlx": {"dtype": "float32"},
}


def longrope(dims: int, spelling: str) -> dict[str, Any]:
    """LongRoPE as the hub's config.json has it, or as transformers 5 saves it."""
    lists = {"short_factor": [1 + i / 40 for i in range(dims)], "long_factor": [1 + i**1.2 for i in range(dims)]}
    lengths = {"max_position_embeddings": LONGEST, "original_max_position_embeddings": ORIGINAL}
    if spelling == "hub":
        return {**lengths, "rope_theta": 10000.0, "rope_scaling": {"type": "longrope", **lists}}
    saved = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": ORIGINAL, **lists}
    return {**lengths, "rope_scaling": None, "rope_parameters": saved}


def context(length: int) -> dict[str, Any]:
    return {"max_position_embeddings": length, "original_max_position_embeddings": length}


HEADS = {"hidden_size": 256, "num_attention_heads": 8}
MODELS: dict[str, dict[str, Any]] = {
    "phi-3-mini-4k": {**HEADS, "num_key_value_heads": 8, "sliding_window": 192, **context(512)},
    "phi-3-mini-128k": {**HEADS, "num_key_value_heads": 8, **longrope(16, "hub"), "sliding_window": 8192},
    "phi-3.5-mini": {**HEADS, "num_key_value_heads": 8, **longrope(16, "transformers")},
    "phi-3-medium": {"hidden_size": 320, "num_attention_heads": 10, "num_key_value_heads": 5, **context(4096)},
    "phi-4-mini": {
        "hidden_size": 384,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        **longrope(24, "hub"),
        "partial_rotary_factor": 0.75,
    },
    "phi-4": {**HEADS, "num_key_value_heads": 2, "rope_theta": 250000.0, **context(16384)},
}
# What a backend does not do, and so says in docs/backends.md: they drop the sliding window, and mlx-lm knows one set
# of factors.
DROPS_WINDOW = ("onnxruntime", "llamacpp", "mlx")


def lengths(model: str, backend: str) -> list[int]:
    """Lengths to compare at: on both sides of the original context, within what the backend keeps."""
    if "sliding_window" in MODELS[model] and MODELS[model]["sliding_window"] < 256:
        return [160] if backend in DROPS_WINDOW else [160, 300]
    if "rope_parameters" in MODELS[model] or MODELS[model].get("rope_scaling"):
        return [200] if backend == "mlx" else [200, 400]
    return [200]


@pytest.mark.parametrize("model", MODELS)
def test_fixed_shapes_agree_with_transformers(model: str, tmp_path: Path) -> None:
    """On both sides of the original context: a fixed context fixes which factors a LongRoPE model has."""
    folder = tmp_path / model
    config = write_canonical(folder, **MODELS[model])
    for context in (ORIGINAL, 2 * ORIGINAL):
        out = tmp_path / str(context)
        out.mkdir()
        form = {"precision": "fp32", "shapes": "fixed", "context": context, "chunk": 64}
        load_backend("onnxruntime").convert(Checkpoint("tiny", folder, folder, config), form, out)
        length = context - 20
        ids = np.random.default_rng(length).integers(3, 2000, (1, length))
        hidden, matrix = reference_of(folder, ids)
        expected = hidden[0] @ matrix.T
        with load_backend("onnxruntime").open(out) as session:
            assert np.abs(session.logits(ids)[0] - expected).max() / expected.std() < 5e-3


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("model", MODELS)
def test_a_member_of_the_family_agrees_with_transformers(model: str, backend: str, tmp_path: Path) -> None:
    folder, out = tmp_path / model, tmp_path / "export"
    config = write_canonical(folder, **MODELS[model])
    out.mkdir()
    load_backend(backend).convert(Checkpoint(model.replace(".", "-"), folder, folder, config), FP32[backend], out)
    for length in lengths(model, backend):
        ids = np.random.default_rng(length).integers(3, 2000, (1, length))
        hidden, matrix = reference_of(folder, ids)
        expected = hidden[0] @ matrix.T
        with load_backend(backend).open(out) as session:
            apart = np.abs(session.logits(ids)[0] - expected).max() / expected.std()
        assert apart < 5e-3, f"{length} tokens"
