"""Phi-3.5-vision: its pictures are cut, and its tower computes, as Microsoft's code does it; a checkpoint is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

from pipeline.errors import CheckpointError, DataError
from pipeline.pictures.kinds import PHI3V
from pipeline.pictures.processing import MOST_TILES, read_picture, tiled
from pipeline.pictures.tower import features, load_tower
from pipeline.pictures.triples import read_triples
from tests.support.phi3v import CLIP, REAL, SEEN, TEXT, written
from tests.support.pictures import PICTURES, fetched
from tests.unit.test_pictures import drawn

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ALTERED = "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("source") / "phi3v")


@pytest.fixture(scope="module")
def model(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetched(source, tmp_path_factory.mktemp("models") / "phi3v")


def microsofts(image: Image.Image) -> torch.Tensor:
    """processing_phi3_v.py's order of operations, in torch: [1 + tiles, 3, 336, 336] of the whole and its tiles."""
    turned = image.width < image.height
    image = image.transpose(Image.Transpose.TRANSPOSE) if turned else image
    ratio, scale = image.width / image.height, 1
    while scale * np.ceil(scale / ratio) <= MOST_TILES:
        scale += 1
    size = ((scale - 1) * 336, int((scale - 1) * 336 / ratio))
    image = image.resize(size, Image.Resampling.BILINEAR)
    rest = int(np.ceil(size[1] / 336) * 336) - size[1]
    image = ImageOps.expand(image, (0, rest // 2, 0, rest - rest // 2), (255, 255, 255))
    image = image.transpose(Image.Transpose.TRANSPOSE) if turned else image
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    pixels = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
    whole = torch.nn.functional.interpolate(pixels[None], size=(336, 336), mode="bicubic")
    rows, columns = pixels.shape[1] // 336, pixels.shape[2] // 336
    tiles = pixels.reshape(1, 3, rows, 336, columns, 336).permute(0, 2, 4, 1, 3, 5).reshape(-1, 3, 336, 336)
    return torch.cat([whole, tiles])


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((448, 448), (4, 4)),
        ((300, 200), (3, 4)),
        ((200, 300), (4, 3)),
        ((1000, 150), (2, 8)),
        ((37, 901), (16, 1)),
        ((4000, 3000), (3, 4)),
    ],
    ids=str,
)
def test_a_picture_is_cut_as_microsofts_code_cuts_it(size: tuple[int, int], grid: tuple[int, int]) -> None:
    image = drawn(*size)
    own, (rows, columns) = tiled(image), grid
    assert (own.height, own.width) == (336 * rows, 336 * columns)
    assert own.tokens == (rows * columns + 1) * 144 + 1 + (rows + 1) * 12
    assert own.mask.all() and own.mask.shape == (rows * columns + 1, 24, 24)
    assert np.abs(own.pixels - microsofts(image).numpy()).max() < 2e-6


def test_the_tower_computes_what_microsofts_code_does(source: Path, model: Path) -> None:
    """CLIP whole, of which the last state but one is taken, and the grid put together by loops."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    state = {name: value.float() for name, value in load_file(source / "model.safetensors").items()}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}
    clip = CLIPVisionModel(CLIPVisionConfig(image_size=336, patch_size=14, hidden_act="quick_gelu", **sizes))
    clip.load_state_dict({name.removeprefix(CLIP): value for name, value in state.items() if name.startswith(CLIP)})
    seen = tiled(drawn(300, 200))
    with torch.inference_mode():
        states = clip.eval()(torch.from_numpy(seen.pixels), output_hidden_states=True).hidden_states[-2][:, 1:]
        crops = states.reshape(-1, 24, 24, 32)

        def lines(number: Callable[[int, int], int], rows: int, columns: int) -> list[torch.Tensor]:
            made = []
            for row in range(12 * rows):
                for column in range(12 * columns):
                    crop = crops[number(row // 12, column // 12)]
                    i, j = 2 * (row % 12), 2 * (column % 12)
                    made.append(torch.cat([crop[i, j], crop[i, j + 1], crop[i + 1, j], crop[i + 1, j + 1]]))
                made.append(state[f"{SEEN}sub_GN"].flatten())
            return made

        grid = lines(lambda row, column: 1 + 4 * row + column, 3, 4)
        rows = torch.stack([*grid, state[f"{SEEN}glb_GN"].flatten(), *lines(lambda row, column: 0, 1, 1)])
        up, down = (
            (state[f"{SEEN}img_projection.{place}.weight"], state[f"{SEEN}img_projection.{place}.bias"])
            for place in (0, 2)
        )
        its = torch.nn.functional.linear(torch.nn.functional.gelu(torch.nn.functional.linear(rows, *up)), *down).numpy()
    own = features(load_tower(model), seen)
    assert own.shape == its.shape == (seen.tokens, 256)
    assert np.abs(own - its).max() < 2e-6


def test_the_small_model_has_the_real_ones_names(source: Path) -> None:
    names = {re.sub(r"layers\.\d+", "layers.0", name) for name in load_file(source / "model.safetensors")}
    assert {name for name in names if name.startswith(SEEN)} == set(REAL)


def test_the_decoder_is_a_phi3_that_ends_its_answers(model: Path) -> None:
    config = json.loads((model / "config.json").read_text("utf-8"))
    assert (config["architectures"], config["model_type"]) == (["Phi3ForCausalLM"], "phi3")
    assert not {"embd_layer", "img_processor", "auto_map"} & config.keys()
    own, its = load_file(model / "model.safetensors"), load_file(TEXT / "model.safetensors")
    assert own.keys() == its.keys() and all(torch.equal(own[name], its[name]) for name in own)
    generation = json.loads((model / "generation_config.json").read_text("utf-8"))
    assert generation["eos_token_id"] == [2, 2037, 2044]  # </s>, as the checkpoint says; <|endoftext|> and <|end|>


def test_questions_are_asked_on_a_line_of_their_own(model: Path) -> None:
    one = read_triples(PICTURES / "evaluation.jsonl", model, 4096, 1)[0]
    assert one.prompt == f"<|user|>\n<|image_1|>\n{one.question}<|end|>\n<|assistant|>\n"
    assert (one.ids == -1).sum() == one.places == read_picture(PICTURES / one.file, PHI3V).tokens
    assert one.after[-1] == 2044 and one.answered < len(one.after)


def test_a_picture_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    drawn(9000, 10).save(tmp_path / "narrow.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, said in {"narrow.png": "too narrow", "text.png": "no picture", "away.png": "no such picture"}.items():
        with pytest.raises(DataError, match=f"{name}: .*{said}"):
            read_picture(tmp_path / name, PHI3V)


def test_an_embedding_that_is_there_twice_or_only_with_the_tower_is_the_decoders(tmp_path: Path) -> None:
    def twice(held: dict[str, Any]) -> None:
        held[f"{SEEN}wte.weight"] = held[ALTERED].clone()
        held[f"{CLIP}embeddings.position_ids"] = torch.arange(577)[None].float()

    def moved(held: dict[str, Any]) -> None:
        held[f"{SEEN}wte.weight"] = held.pop(ALTERED)

    right = load_file(TEXT / "model.safetensors")[ALTERED]
    for name, edit in (("twice", twice), ("moved", moved)):
        model = fetched(written(tmp_path / name, edit), tmp_path / f"{name}-model")
        assert torch.equal(load_file(model / "model.safetensors")[ALTERED], right)


def without(part: str) -> Callable[[dict[str, Any]], None]:
    def edit(held: dict[str, Any]) -> None:
        for name in [name for name in held if part in name]:
            del held[name]

    return edit


def added(name: str, *shape: int) -> Callable[[dict[str, Any]], None]:
    return lambda held: held.update({name: torch.zeros(*shape)})


@pytest.mark.parametrize(
    ("edit", "config", "said"),
    [
        (without("vision_embed_tokens"), {}, "it lacks its tower: no tensor model.vision_embed_tokens"),
        (without("img_processor"), {}, "its tower is not whole"),
        (without("sub_GN"), {}, "1 tensors of its tower are missing, the first is .*sub_GN"),
        (without("layers.0.self_attn.q_proj.bias"), {}, "tensors of its tower are missing"),
        (without("img_projection.2"), {}, "2 tensors of its tower are missing"),
        (without("layers.1.input_layernorm"), {}, "1 tensors are missing, the first is model.layers.1.input_layernorm"),
        (added(f"{SEEN}depth.weight", 2), {}, "a tensor that is not known: model.vision_embed_tokens.depth.weight"),
        (added("model.lora.weight", 2), {}, "not of this architecture, the first is model.lora.weight"),
        (added(f"{SEEN}glb_GN", 1, 1, 33), {}, r"glb_GN has shape \[1, 1, 33\]"),
        (lambda held: None, {"embd_layer": {"hd_transform_order": "glb_sub"}}, "hd_transform_order is 'glb_sub'"),
        (lambda held: None, {"embd_layer": {"use_hd_transform": False}}, "use_hd_transform is False"),
        (lambda held: None, {"img_processor": {"name": "siglip"}}, "img_processor.name is 'siglip'"),
        (lambda held: None, {"vision_tower": {"num_attention_heads": 5}}, "width 32 has 5 heads"),
        (lambda held: None, {"quantization_config": {"quant_method": "awq"}}, "quantization_config .awq."),
    ],
)
def test_a_checkpoint_that_lacks_something_is_refused_by_name(
    edit: Any, config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=said):
        fetched(written(tmp_path / "model", edit, **config), tmp_path / "out")


def test_layers_that_no_picture_goes_through_may_be_missing(tmp_path: Path) -> None:
    def edit(held: dict[str, Any]) -> None:
        without("post_layernorm")(held)
        held.update({name: held.pop(name)[:0] for name in list(held) if f"{CLIP}encoder.layers.1." in name})

    assert (fetched(written(tmp_path / "model", edit), tmp_path / "out") / "vision" / "model.safetensors").is_file()
