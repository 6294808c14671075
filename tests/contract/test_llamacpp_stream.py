"""A GGUF file quantized straight from the checkpoint is the one that llama.cpp makes of a converted file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.backends.base import Calibration
from pipeline.backends.llamacpp.backend import LlamaCppBackend
from pipeline.backends.llamacpp.quantize import file_type
from pipeline.errors import ArtifactError, QualityError, ToolError
from pipeline.types import Checkpoint, Family, QuantizationStats, Recipe
from tests.support.backends import order
from tests.support.gguf_files import LONGROPE, checkpoint_in
from tests.support.tiny import tensors_of, tiny_config, write_checkpoint

EIGHT_LAYERS = {"num_hidden_layers": 8, "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}


def both(
    checkpoint: Checkpoint, root: Path, calibration: Calibration | None = None, **settings: Any
) -> tuple[bytes, bytes, list[QuantizationStats]]:
    """The file by way of an export, the file without one, and what either build counts."""
    backend, form = LlamaCppBackend(), {"type": "auto", "precision": "bf16"}
    recipe = Recipe("test", Family.INT4, "gguf" if settings else "none", "stored", settings)
    folders = {name: root / name for name in ("export", "quantized", "streamed")}
    for folder in folders.values():
        folder.mkdir()
    backend.convert(checkpoint, form, folders["export"])
    stats = [
        backend.quantize(folders["export"], order(recipe, folders["quantized"], calibration)),
        backend.stream(checkpoint, form, order(recipe, folders["streamed"], calibration)),
    ]
    assert [path.name for path in folders["streamed"].iterdir()] == ["model.gguf"]
    return (folders["quantized"] / "model.gguf").read_bytes(), (folders["streamed"] / "model.gguf").read_bytes(), stats


@pytest.mark.parametrize(
    "kind", ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_XS", "IQ4_NL", "Q3_K_M", "Q2_K", "F16", None]
)
def test_a_streamed_file_has_llama_cpps_bytes(tmp_path: Path, kind: str | None) -> None:
    """Eight layers, so that the mixtures differ from layer to layer."""
    checkpoint = checkpoint_in(tmp_path, **EIGHT_LAYERS)
    quantized, streamed, stats = both(checkpoint, tmp_path, **({"type": kind} if kind else {}))
    assert streamed == quantized and stats[0] == stats[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"tie_word_embeddings": True},
        LONGROPE,
        {"hidden_size": 192, "num_attention_heads": 6, "num_key_value_heads": 6},  # no multiple of 256: other types
    ],
)
def test_shapes_that_llama_cpp_treats_otherwise_stream_as_well(tmp_path: Path, changes: dict[str, Any]) -> None:
    quantized, streamed, stats = both(checkpoint_in(tmp_path, **changes), tmp_path, type="Q4_K_M")
    assert streamed == quantized and stats[0] == stats[1]


def test_a_bfloat16_checkpoint_streams_without_being_stored_again(tmp_path: Path) -> None:
    checkpoint = in_bfloat16(tmp_path / "model", **EIGHT_LAYERS)
    quantized, streamed, stats = both(checkpoint, tmp_path, type="Q4_K_M")
    assert streamed == quantized and stats[0] == stats[1]


def test_an_importance_matrix_of_a_file_or_of_calibration_streams(tmp_path: Path) -> None:
    import gguf

    checkpoint, file = checkpoint_in(tmp_path), tmp_path / "importance.gguf"
    ids = np.random.default_rng(0).integers(3, 2000, (2, 32))
    plain = both(checkpoint, sub(tmp_path, "plain"), type="Q4_K_M")[1]
    quantized, collected, _ = both(
        checkpoint, sub(tmp_path, "collected"), Calibration(ids), type="Q4_K_M", imatrix="calibration"
    )
    assert collected == quantized != plain
    writer = gguf.GGUFWriter(file, "imatrix")
    for tensor in gguf.GGUFReader(tmp_path / "plain/export/model.gguf").tensors:
        if len(tensor.shape) == 2:
            sums = np.linspace(1, 9, int(tensor.shape[0]), dtype=np.float32)
            writer.add_tensor(f"{tensor.name}.in_sum2", sums[None])
            writer.add_tensor(f"{tensor.name}.counts", np.ones((1, 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    quantized, read, _ = both(checkpoint, sub(tmp_path, "read"), type="Q4_K_M", imatrix=str(file))
    assert read == quantized != plain


def test_an_importance_matrix_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wrong.gguf").write_bytes(b"no GGUF file")
    settings = {"type": "Q4_K_M", "imatrix": str(tmp_path / "wrong.gguf")}
    with pytest.raises(ArtifactError, match="no importance matrix"):
        streamed_alone(checkpoint_in(tmp_path), tmp_path, settings)


def test_infinite_weights_are_refused(tmp_path: Path) -> None:
    checkpoint = checkpoint_in(tmp_path)
    weights = tensors_of(tiny_config())
    weights["model.layers.0.mlp.down_proj.weight"][3, 5] = np.inf
    save_file(weights, checkpoint.weights / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(QualityError, match="not finite"):
        streamed_alone(checkpoint, tmp_path, {"type": "Q4_K_M"})


def test_a_dry_run_that_is_not_understood_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp says which type a tensor gets in its log alone: another wording must not go unnoticed."""
    monkeypatch.setattr("pipeline.backends.llamacpp.stream.DECIDED", __import__("re").compile("nothing"))
    with pytest.raises(ToolError, match="dry run"):
        streamed_alone(checkpoint_in(tmp_path), tmp_path, {"type": "Q4_K_M"})


def test_a_hollow_file_takes_no_room(tmp_path: Path) -> None:
    from pipeline.backends.llamacpp.writer import write_gguf, write_hollow

    checkpoint = checkpoint_in(tmp_path, **EIGHT_LAYERS)
    write_hollow(checkpoint, "BF16", tmp_path / "hollow.gguf")
    write_gguf(checkpoint, "BF16", tmp_path / "whole.gguf")
    hollow, whole = (tmp_path / "hollow.gguf").stat(), (tmp_path / "whole.gguf").stat()
    assert hollow.st_size == whole.st_size
    assert 512 * hollow.st_blocks < whole.st_size / 4  # names, vocabulary


def sub(root: Path, name: str) -> Path:
    (root / name).mkdir()
    return root / name


def streamed_alone(checkpoint: Checkpoint, root: Path, settings: dict[str, Any]) -> None:
    recipe = Recipe("test", Family.INT4, "gguf", "stored", settings)
    (root / "out").mkdir()
    assert file_type(settings) == 15
    LlamaCppBackend().stream(checkpoint, {"type": "auto"}, order(recipe, root / "out"))


def in_bfloat16(folder: Path, **changes: Any) -> Checkpoint:
    """A checkpoint whose weights are stored as the upper halves of float32."""
    write_checkpoint(folder, **changes)
    config = tiny_config(**changes, dtype="bfloat16")
    header: dict[str, Any] = {}
    data = bytearray()
    for name, values in tensors_of(config).items():
        raw = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return Checkpoint("tiny", folder, folder, config)
