"""Memory is bounded by a layer, not by the model: 0.65 B parameters, of Phi-3.5-mini's shape with four layers."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.make_checkpoint import SHAPES, tensors, write_checkpoint
from benchmarks.memory import measure
from benchmarks.workspace import copy_project
from pipeline.model.checkpoint import read_headers
from tests.support.tiny import ROOT

PHI = SHAPES["phi-3.5-mini"]
LARGEST_MB = 4 * PHI["vocab_size"] * PHI["hidden_size"] / 1e6  # of a tensor, in fp32
CHECKPOINT_MB = 2 * sum(math.prod(size) for _, size in tensors({**PHI, "num_hidden_layers": 4})) / 1e6  # in bf16


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("large") / "phi"
    write_checkpoint(folder, "phi-3.5-mini", layers=4)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "precisions", "bound_mb"),
    [
        ("onnxruntime", ("int4", "int8", "fp16"), 1000 + 2 * LARGEST_MB),
        ("llamacpp", ("int4", "int8", "fp16"), 1000 + 2 * LARGEST_MB),
        ("mlx", ("int4", "int8", "fp16"), 3000),
        ("openvino", ("int4-cookbook", "int8", "fp16"), 1.3 * CHECKPOINT_MB),  # NNCF holds the model
    ],
)
def test_peak_memory_does_not_grow_with_the_model(
    checkpoint: Path, tmp_path: Path, backend: str, precisions: tuple[str, ...], bound_mb: float
) -> None:
    copy_project(tmp_path)
    peaks = {name: measure(tmp_path, checkpoint, name, backend)["peak_anon_mb"] for name in precisions}
    assert max(peaks.values()) < bound_mb, peaks


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_the_parameters_of_the_model_in_conf(name: str) -> None:
    import yaml

    conf = yaml.safe_load((ROOT / f"conf/model/{name}.yaml").read_text(encoding="utf-8"))[name.replace(".", "-")]
    count = 0
    for _, size in tensors(SHAPES[name]):
        count += math.prod(size)
    assert count == conf["parameters"]


def test_a_written_checkpoint_is_one_that_the_pipeline_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {**SHAPES["phi-4-mini"], "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2}
    monkeypatch.setitem(
        SHAPES, "small", {**small, "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 3000}
    )
    monkeypatch.setattr("benchmarks.make_checkpoint.SHARD", 100_000)
    written = write_checkpoint(tmp_path / "model", "small")
    found = read_headers(tmp_path / "model")
    assert sum(tensor.size for tensor in found.values()) == written and len(found) == 2 + 2 * 6
    assert len(list((tmp_path / "model").glob("*.safetensors"))) == 2
