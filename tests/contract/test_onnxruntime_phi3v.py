"""Phi-3.5-vision on ONNX Runtime against CLIP and Phi-3 of transformers, and its runtime on a picture's file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.backends.base import Order
from pipeline.backends.onnxruntime.backend import BACKEND
from pipeline.backends.onnxruntime.pictures.session import OnnxSight
from pipeline.backends.process import ask_runtime
from pipeline.backends.request import RuntimeRequest
from pipeline.metrics.divergence import log_softmax
from pipeline.model.loading import load_model
from pipeline.pictures.kinds import PHI3V
from pipeline.pictures.processing import Picture, read_picture, tiled
from pipeline.pictures.tower import features, load_tower
from pipeline.pictures.triples import Triple, read_triples
from pipeline.types import Checkpoint, Family, Recipe
from tests.support.phi3v import written
from tests.support.pictures import PICTURES, assert_sees, fetched
from tests.unit.test_pictures import drawn


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return fetched(written(folder / "source"), folder / "phi3v")


@pytest.fixture(scope="module")
def export(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export")
    config = json.loads((model / "config.json").read_text("utf-8"))
    BACKEND.convert(Checkpoint("phi3v", model, model, config), {"precision": "fp32", "provider": "cpu"}, out)
    return out


@pytest.fixture(scope="module")
def triples(model: Path) -> list[Triple]:
    """A picture filled up with white, one without (448 × 448), one of tiles that are no square grid."""
    found = read_triples(PICTURES / "evaluation.jsonl", model, 4096)
    sizes = {triple.file: tuple(read_picture(PICTURES / triple.file, PHI3V).pixels.shape) for triple in found}
    assert len(set(sizes.values())) > 1
    return [next(t for t in found if t.file == f"images/{name}.png") for name in ("00", "01", "10")]


@pytest.mark.parametrize("size", [(448, 448), (300, 200), (200, 300), (1000, 150)], ids=str)
def test_the_tower_sees_what_transformers_sees(size: tuple[int, int], model: Path, export: Path) -> None:
    assert_sees(OnnxSight(export), model, tiled(drawn(*size)), 1e-5)


def test_logits_are_transformers_and_another_picture_changes_them(
    model: Path, export: Path, triples: list[Triple]
) -> None:
    one, other = triples[0], triples[2]
    pictures = [read_picture(PICTURES / triple.file, PHI3V) for triple in (one, other)]
    tower, text = load_tower(model), load_model(model, model, "float32")
    with torch.inference_mode():
        words = text.model.embed_tokens(torch.from_numpy(one.ids).clamp_min(0))
        words[torch.from_numpy(one.ids == -1)] = torch.from_numpy(features(tower, pictures[0]).copy())
        its = log_softmax(text(inputs_embeds=words[None]).logits[0, -one.answered - 1 :].numpy())
    with BACKEND.open_sight(export) as session:
        own, changed = (log_softmax(session.logits(one.ids, picture)[-one.answered - 1 :]) for picture in pictures)
    assert (np.exp(its) * (its - own)).sum(axis=-1).mean() < 1e-6
    assert np.abs(own - changed).max() > 1e-2


def test_the_runtime_reads_a_file_as_the_pipeline_does(export: Path, triples: list[Triple], tmp_path: Path) -> None:
    """Ids are equal, and so are all tiles to the last bit; the whole is made smaller with another filter."""
    files = [str(PICTURES / triple.file) for triple in triples]
    asked = [triple.prompt for triple in triples]
    made = ask_runtime("onnxruntime", export, RuntimeRequest("generate", [], 6, asked=asked, media=files)).value
    assert made["ids"] == [triple.asked.tolist() for triple in triples]
    cut = [str(tmp_path / f"{number}.npz") for number in range(len(triples))]
    ask_runtime("onnxruntime", export, RuntimeRequest("see", [], 0, media=files, cut=cut))
    with BACKEND.open_sight(export) as session:
        for triple, tokens, path in zip(triples, made["tokens"], cut, strict=True):
            own = read_picture(PICTURES / triple.file, PHI3V)
            with np.load(path) as its:
                users = Picture(its["pixels"], its["mask"], int(its["height"]), int(its["width"]))
            assert users.tokens == own.tokens and users.pixels.shape == own.pixels.shape
            assert (users.pixels[1:] == own.pixels[1:]).all()
            assert np.abs(users.pixels[0] - own.pixels[0]).mean() < 0.02
            rows = session.logits(np.array([*triple.asked, *tokens]), users)[len(triple.asked) - 1 : -1]
            assert rows.argmax(axis=-1).tolist() == tokens


def test_a_second_picture_is_refused_and_not_guessed(export: Path) -> None:
    import onnxruntime_genai as genai

    model = genai.Model(str(export))
    files = [str(PICTURES / f"images/0{number}.png") for number in range(2)]
    inputs = model.create_multimodal_processor()("<|image_1|>\n<|image_2|>\nAlike?", images=genai.Images.open(*files))
    parameters = genai.GeneratorParams(model)
    parameters.set_search_options(max_length=6000)
    with pytest.raises(RuntimeError, match="image_features"):
        genai.Generator(model, parameters).set_inputs(inputs)


@pytest.mark.xfail(
    strict=True, reason="when this passes, Phi3ImageTransform takes num_crops, and the reference may too"
)
def test_genai_takes_the_number_of_crops(export: Path, tmp_path: Path) -> None:
    """Phi-3.5-vision's preprocessor_config.json says 4, of several pictures; MOST_TILES is what the runtime makes."""
    import onnxruntime_genai as genai

    path = export / "vision_processor.json"
    text = path.read_text("utf-8")
    path.write_text(text.replace('"num_crops": 16', '"num_crops": 4'), encoding="utf-8")
    try:
        processor = genai.Model(str(export)).create_multimodal_processor()
        inputs = processor("<|image_1|>", images=genai.Images.open(str(PICTURES / "images/00.png")))
        assert inputs["pixel_values"].shape()[1] == 5
    finally:
        path.write_text(text, encoding="utf-8")


def test_a_quantized_decoder_keeps_its_tower(export: Path, tmp_path: Path) -> None:
    settings = {"bits": 4, "group_size": 32, "symmetric": True, "accuracy_level": 4}
    recipe = Recipe("rtn", Family.INT4, "weight-only", "fp32", settings)
    stats = BACKEND.quantize(export, Order(recipe, None, tmp_path, lambda done, total: None))
    assert stats.operators == 4 * 5 + 1
    assert stats.kept == {"embedding": 16, "lm_head": 4, "vision": 16}
    for name in ("vision.onnx.data", "embedding.onnx.data", "vision_processor.json"):
        assert (tmp_path / name).read_bytes() == (export / name).read_bytes()
