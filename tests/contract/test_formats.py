"""Formats of each matrix, on the backends that mix them: what a search is told is what the runtime computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.backends.base import Calibration
from pipeline.backends.registry import load_backend
from pipeline.calibration.moments import matrices
from pipeline.errors import ArtifactError, ConfigError
from pipeline.matrix.recipes import parse_recipe
from pipeline.metrics.divergence import score_window, totals
from pipeline.model.checkpoint import EMBEDDING, HEAD, read_float32, read_headers
from pipeline.packaging.manifest import digests
from pipeline.types import Checkpoint, Family, Recipe
from tests.contract.contract import reference_of
from tests.support.backends import conf_of, order
from tests.support.tiny import tiny_config, write_checkpoint

MIXING = ("onnxruntime", "openvino", "llamacpp", "mlx")
TEXT = np.random.default_rng(0).integers(3, 2000, (4, 32))
IDS = np.random.default_rng(1).integers(3, 2000, (2, 48))
NEAR = 2e-4  # nats: scales of 16 bits, and what a runtime itself is off by


def recipe_of(name: str, table: dict[str, str] | None = None) -> Recipe:
    conf = conf_of(name)
    made = parse_recipe("default", Family.FIT, conf["recipes"]["fit"]["default"], name, conf["methods"])
    return replace(made, settings={**made.settings, "table": table}) if table is not None else made


def checkpoint_of(folder: Path, **changes: Any) -> Checkpoint:
    """A model in bf16, the type that checkpoints have and that MLX's scales are in."""
    import torch
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file as save

    write_checkpoint(folder, dtype="bfloat16", **changes)
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load(folder / "model.safetensors").items()}
    save(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return Checkpoint("tiny", folder, folder, tiny_config(dtype="bfloat16", **changes))


def table_of(name: str, tied: bool, seed: int = 0) -> dict[str, str]:
    """A format for each matrix, so that all that `layers` can have are there or nearly."""
    settings = recipe_of(name).settings
    layers = [f"model.layers.0.{part}.weight" for part in ("self_attn.qkv_proj", "self_attn.o_proj")]
    layers += [f"model.layers.0.mlp.{part}.weight" for part in ("gate_up_proj", "down_proj")]
    drawn = np.random.default_rng(seed).permutation(settings["formats"])
    table = {matrix: str(drawn[at % len(drawn)]) for at, matrix in enumerate(layers)}
    table[EMBEDDING] = settings.get("embedding_formats", settings["formats"])[-1]
    return table if tied else {**table, HEAD: settings.get("lm_head_formats", settings["formats"])[-2]}


def form_of(name: str) -> Any:
    return conf_of(name)["forms"][recipe_of(name).form]


@pytest.mark.parametrize("tied", [False, True], ids=["apart", "tied"])
@pytest.mark.parametrize("name", MIXING)
def test_a_build_computes_with_the_values_that_the_search_was_told(name: str, tied: bool, tmp_path: Path) -> None:
    backend, form = load_backend(name), form_of(name)
    checkpoint = checkpoint_of(tmp_path / "model", tie_word_embeddings=tied)
    table = table_of(name, tied)
    (tmp_path / "built").mkdir()
    wanted = order(recipe_of(name, table), tmp_path / "built", Calibration(TEXT), checkpoint)
    stats = backend.stream(checkpoint, form, wanted)
    headers = read_headers(checkpoint.folder)
    tensors = {key: np.asarray(read_float32(header)) for key, header in headers.items()}
    bits = sum(tensor.size * 32 for key, tensor in tensors.items() if tensor.ndim == 1)
    (tmp_path / "scratch").mkdir()
    found = matrices(checkpoint.folder, checkpoint.folder, TEXT, tmp_path / "scratch", lambda *_: None)
    for matrix in list(found):
        key = EMBEDDING if tied and matrix.name == HEAD else matrix.name
        if tied and matrix.name == EMBEDDING:
            continue
        rows = matrix.weights()
        tensors[key] = np.ascontiguousarray(backend.fitted(form, table[key], rows, matrix.moments), np.float32)
        bits += backend.stored_bits(form, table[key], rows.shape[1], rows.shape[0]) or 0
    save_file(tensors, checkpoint.folder / "model.safetensors", metadata={"format": "pt"})
    hidden, head = reference_of(checkpoint.folder, IDS)
    with backend.open(tmp_path / "built") as session:
        scores = [score_window(row, session.logits(row[None])[0], hidden[at], head) for at, row in enumerate(IDS)]
        kl = totals(scores).kl_nats_mean
    assert kl < NEAR
    weights = sum(tensor.size for tensor in tensors.values())
    assert stats.bits_per_weight * weights == pytest.approx(bits, rel=0.01)


def test_scales_lie_in_16_bits_and_the_session_folds_their_cast(tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    name, checkpoint = "onnxruntime", checkpoint_of(tmp_path / "model", tie_word_embeddings=True)
    (tmp_path / "built").mkdir()
    wanted = order(recipe_of(name, table_of(name, tied=True)), tmp_path / "built", Calibration(TEXT), checkpoint)
    load_backend(name).stream(checkpoint, form_of(name), wanted)
    graph = onnx.load(tmp_path / "built/model.onnx", load_external_data=False).graph
    scales = [tensor for tensor in graph.initializer if tensor.name.endswith("_scales")]
    assert scales and {tensor.data_type for tensor in scales} == {onnx.TensorProto.FLOAT16}
    casts = {node.name for node in graph.node if node.op_type == "Cast" and node.name.endswith("_scales/Cast")}
    assert len(casts) == len(scales)
    assert {node.name for node in graph.node[: len(casts)]} == casts  # nodes lie in topological order
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "built/optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(tmp_path / "built/model.onnx", options, providers=["CPUExecutionProvider"])
    loaded = onnx.load(tmp_path / "built/optimized.onnx", load_external_data=False).graph
    assert not casts & {node.name for node in loaded.node}


@pytest.mark.parametrize("name", ["openvino"])
def test_an_export_makes_the_bytes_that_a_streamed_checkpoint_makes(name: str, tmp_path: Path) -> None:
    backend, form, checkpoint = load_backend(name), form_of(name), checkpoint_of(tmp_path / "model")
    for folder in ("export", "built", "streamed"):
        (tmp_path / folder).mkdir()
    recipe = recipe_of(name, table_of(name, tied=False))
    backend.convert(checkpoint, form, tmp_path / "export")
    backend.quantize(tmp_path / "export", order(recipe, tmp_path / "built", Calibration(TEXT), checkpoint))
    backend.stream(checkpoint, form, order(recipe, tmp_path / "streamed", Calibration(TEXT), checkpoint))
    assert digests(tmp_path / "streamed") == digests(tmp_path / "built")


@pytest.mark.parametrize("name", MIXING)
def test_a_foreign_table_and_an_unknown_format_are_refused(name: str, tmp_path: Path) -> None:
    backend, form, checkpoint = load_backend(name), form_of(name), checkpoint_of(tmp_path / "model")
    table = table_of(name, tied=False)
    foreign = {**table, "model.layers.7.mlp.down_proj.weight": table[HEAD]}
    for number, (wrong, error, said) in enumerate(
        ((foreign, ArtifactError, "another model"), ({**table, HEAD: "int9-7"}, ConfigError, "unknown"))
    ):
        (tmp_path / str(number)).mkdir()
        wanted = order(recipe_of(name, wrong), tmp_path / str(number), Calibration(TEXT), checkpoint)
        with pytest.raises(error, match=said):
            backend.stream(checkpoint, form, wanted)
