"""OpenVINO's tower has the checkpoint's words, which it was traced without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import openvino
import pytest
from safetensors.torch import load_file, save_file

from pipeline.backends.openvino.files import PROJECTOR, TOWER, read_model
from pipeline.backends.openvino.pictures.parts import write_parts
from pipeline.errors import CheckpointError
from pipeline.harness.run import setup
from pipeline.model.checkpoint import SINGLE, read_headers
from pipeline.pictures.tower import folder_of, weightless_tower
from pipeline.types import Checkpoint
from tests.support.pictures import SHIPPED, fetched

PLACES = "img_processor.embeddings.position_embedding.weight"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    setup()
    return fetched(SHIPPED, tmp_path_factory.mktemp("models") / "vision")


def written(model: Path, out: Path) -> Path:
    out.mkdir()
    shutil.copyfile(model / "config.json", out / "config.json")
    config = json.loads((model / "config.json").read_text("utf-8"))
    write_parts(Checkpoint("vision", model, model, config), out)
    return out


def test_a_tower_without_weights_takes_no_memory_and_has_their_shapes(model: Path) -> None:
    held = read_headers(folder_of(model))
    found = dict(weightless_tower(model).named_parameters())
    assert set(held) <= set(found)
    assert {name: tuple(found[name].shape) for name in held} == {name: held[name].shape for name in held}
    assert all(value.untyped_storage().nbytes() == 4 for value in found.values())


def test_its_constants_are_the_checkpoints_words_in_the_checkpoints_type(model: Path, tmp_path: Path) -> None:
    out, tensors = written(model, tmp_path / "out"), read_headers(folder_of(model))
    nodes = [node for file in (TOWER, PROJECTOR) for node in read_model(out, file).get_ops()]
    constants = {node.get_friendly_name(): node for node in nodes if node.get_friendly_name() in tensors}
    assert {PLACES, "img_projection_down.weight"} <= set(constants)
    assert {"BF16"} == {tensors[name].dtype for name in constants}
    for name, node in constants.items():
        tensor = tensors[name]
        assert (node.get_type_name(), node.get_element_type()) == ("Constant", openvino.Type.bf16)
        words = np.fromfile(tensor.path, np.uint16, tensor.size // 2, offset=tensor.offset)
        assert (node.data.view(np.uint16).ravel() == words).all()
    others = [node for node in nodes if node.get_type_name() == "Constant" and node not in constants.values()]
    assert max(node.data.size for node in others) < min(tensors[name].shape[0] for name in constants)


def test_a_tower_that_lacks_a_tensor_is_refused_by_its_name(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(model, other)
    values = load_file(folder_of(other) / SINGLE)
    del values[PLACES]
    save_file(values, folder_of(other) / SINGLE)
    with pytest.raises(CheckpointError, match=f"its tower lacks {PLACES}"):
        written(other, tmp_path / "out")
