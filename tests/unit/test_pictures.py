"""A picture is cut as Microsoft's code cuts it, and a checkpoint that sees is taken apart whole or refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pipeline.errors import CheckpointError, DataError
from pipeline.pictures import processing
from pipeline.pictures.kinds import PHI4MM
from pipeline.pictures.processing import processed, read_picture, resampled
from pipeline.pictures.rows import MEDIA, fields
from pipeline.pictures.tower import features, load_tower
from pipeline.pictures.triples import read_triples
from tests.support.pictures import PICTURES, SHIPPED, edited, fetched


def drawn(width: int, height: int, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (height // 9 + 1, width // 9 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetched(SHIPPED, tmp_path_factory.mktemp("models") / "vision")


@pytest.mark.parametrize(
    ("size", "grid", "tokens"),
    [  # tokens: 16 x 17 of the whole, one, and rows x (columns + 1) of the part that is picture
        ((448, 448), (448, 448), 272 + 1 + 16 * 17),
        ((300, 200), (448, 448), 272 + 1 + 11 * 17),
        ((200, 300), (448, 448), 272 + 1 + 16 * 12),
        ((1000, 620), (896, 1344), 272 + 1 + 30 * 49),
        ((4000, 3000), (1344, 1792), 272 + 1 + 48 * 65),  # more than 36 crops: made smaller
    ],
)
def test_a_picture_takes_the_places_that_its_grid_gives(size: Any, grid: Any, tokens: int) -> None:
    seen = processed(drawn(*size))
    assert ((seen.height, seen.width), seen.tokens) == (grid, tokens)
    assert seen.pixels.shape == (1 + grid[0] * grid[1] // 448**2, 3, 448, 448)
    assert seen.mask[0].all()


def test_pixels_are_scaled_to_one_and_cut_row_by_row() -> None:
    image = drawn(896, 448)
    seen = processed(image)
    right = np.asarray(image)[:, 448:].transpose(2, 0, 1) / 127.5 - 1
    assert np.abs(seen.pixels[2] - right).max() < 1e-6
    assert (processed(drawn(300, 200)).pixels[1, :, 300:] == 1).all()  # white below


def test_the_whole_is_made_smaller_as_torch_does_it() -> None:
    pixels = np.random.default_rng(0).normal(size=(3, 896, 1344)).astype(np.float32)
    own = resampled(resampled(pixels, 448).transpose(0, 2, 1), 448).transpose(0, 2, 1)
    its = torch.nn.functional.interpolate(torch.from_numpy(pixels)[None], size=(448, 448), mode="bicubic")[0]
    assert np.abs(own - its.numpy()).max() < 2e-6


def test_a_picture_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(60, 40).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-300])
    (tmp_path / "text.png").write_text("no picture")
    drawn(3000, 8).save(tmp_path / "narrow.png")
    drawn(300, 300).save(tmp_path / "large.png")
    for name, said in {
        "away.png": "there is no such picture",
        "text.png": "no picture that Pillow can read",
        "cut.png": "a broken picture",
        "narrow.png": "too narrow",
    }.items():
        with pytest.raises(DataError, match=f"{name}: .*{said}"):
            read_picture(tmp_path / name, PHI4MM)
    monkeypatch.setattr(processing, "MOST_PIXELS", 80_000)
    with pytest.raises(DataError, match="300 × 300 pixels are more than"):
        read_picture(tmp_path / "large.png", PHI4MM)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "?", "answer": "."}, "`image` is missing"),
        ({"image": "a.png", "question": "?"}, "`answer` is missing"),
        ({"image": "a.png", "question": "<|image_1|>or<|image_2|>?", "answer": "."}, "a row has one picture"),
        ({"image": "a.png", "question": "<|image_2|>?", "answer": "."}, r"names <\|image_2\|>"),
        ({"image": "../a.png", "question": "?", "answer": "."}, "not below"),
    ],
)
def test_a_row_that_does_not_fit_is_one_line(row: dict[str, str], said: str) -> None:
    with pytest.raises(DataError, match=f"rows.jsonl:3: .*{said}"):
        fields(row, MEDIA["vision"], "rows.jsonl:3")


def test_triples_are_asked_as_the_chat_template_has_it(model: Path) -> None:
    triples = read_triples(PICTURES / "evaluation.jsonl", model, 16384, 4)
    one = triples[0]
    assert one.prompt == f"<|user|><|image_1|>{one.question}<|end|><|assistant|>"
    assert (one.ids == 200010).sum() == one.places == read_picture(PICTURES / one.file, PHI4MM).tokens
    assert len(one.target) == one.answered + 1
    with pytest.raises(DataError, match=r"evaluation.jsonl:1: \d+ tokens with its picture, the context is 100"):
        read_triples(PICTURES / "evaluation.jsonl", model, 100)


def without(part: str) -> Callable[[dict[str, Any]], None]:
    def edit(held: dict[str, Any]) -> None:
        for name in [name for name in held if part in name]:
            del held[name]

    return edit


def unknown(held: dict[str, Any]) -> None:
    held["model.embed_tokens_extend.depth_embed.weight"] = torch.zeros(2)


def wider(held: dict[str, Any]) -> None:
    held["model.embed_tokens_extend.image_embed.glb_GN"] = torch.zeros(1, 1, 65)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (without(".vision."), "it lacks its vision adapter"),
        (without("0.mlp.down_proj.lora_B.vision"), "lora_B of model.layers.0.mlp.down_proj is missing"),
        (without("image_embed"), "it lacks its tower"),
        (without("sub_GN"), "1 tensors of its tower are missing, the first is .*sub_GN"),
        (without("layers.0.self_attn.q_proj.bias"), "tensors of its tower are missing"),
        (without("layers.1.input_layernorm"), "1 tensors are missing, the first is model.layers.1.input_layernorm"),
        (unknown, "a tensor that is not known: model.embed_tokens_extend.depth_embed.weight"),
        (wider, r"glb_GN has shape \[1, 1, 65\]"),
    ],
)
def test_a_checkpoint_that_lacks_something_is_refused_by_name(edit: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=said):
        fetched(edited(tmp_path / "model", edit), tmp_path / "out")


def test_what_no_picture_goes_through_may_be_missing(tmp_path: Path) -> None:
    folder = edited(tmp_path / "model", without("audio_embed"))
    assert (fetched(folder, tmp_path / "out") / "vision" / "model.safetensors").is_file()


def test_the_fetched_decoder_has_its_vision_adapter_and_no_other(model: Path) -> None:
    own, raw = load_file(model / "model.safetensors"), load_file(SHIPPED / "model.safetensors")
    stem = "model.layers.1.self_attn.qkv_proj."
    a, b = (raw[f"{stem}lora_{letter}.vision.weight"].float() for letter in "AB")
    said = json.loads((SHIPPED / "config.json").read_text("utf-8"))["vision_lora"]
    merged = raw[f"{stem}base_layer.weight"].float() + said["lora_alpha"] / said["r"] * b @ a
    assert torch.equal(own[f"{stem}weight"], merged.bfloat16())
    assert not [name for name in own if "lora" in name or "embed_tokens_extend" in name]


def test_a_picture_without_padding_is_not_taken_for_causal_text(model: Path) -> None:
    """transformers' sdpa does: then no row knows of what is below it."""
    tower = load_tower(model)
    seen = processed(drawn(448, 448))
    before = features(tower, seen)
    seen.pixels[1, :, 440:, 440:] *= -1
    assert np.abs(features(tower, seen)[0] - before[0]).max() > 1e-6


def test_the_parts_are_transformers_whole_model(model: Path) -> None:
    """Its own class, filled by names that are written out here, computes what tower and decoder do."""
    from transformers import AutoModelForCausalLM

    from training.pictures import layout
    from training.pictures.tower import native

    whole = native().eval()
    whole.model.embed_tokens_extend.image_embed.img_processor.set_attn_implementation("eager")
    raw = {layout.old_name(name): name for name in whole.state_dict()}
    state = load_file(SHIPPED / "model.safetensors")
    plain = {raw[name]: value.float() for name, value in state.items() if name in raw}
    decoder = {name: value.float() for name, value in load_file(model / "model.safetensors").items()}
    missing = whole.load_state_dict({**plain, **decoder}, strict=False).missing_keys
    assert missing == ["lm_head.weight"]
    seen = processed(drawn(300, 200))
    ids = torch.tensor([[5, 6, *[200010] * seen.tokens, 7, 8, 9]])
    with torch.inference_mode():
        words = whole.model.embed_tokens(torch.where(ids == 200010, 0, ids))
        rows = whole.model.embed_tokens_extend(
            ids,
            words,
            image_pixel_values=torch.from_numpy(seen.pixels)[None],
            image_sizes=torch.tensor([[seen.height, seen.width]]),
            image_attention_mask=torch.from_numpy(seen.mask)[None],
        )
        its = whole.model(inputs_embeds=rows).last_hidden_state
        words[0, 2:-3] = torch.from_numpy(features(load_tower(model), seen).copy())
        text = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
        own = text.model(inputs_embeds=words).last_hidden_state
    assert (own - its).abs().max() < 1e-4


def test_reasons_are_one_line() -> None:
    """What is written of a broken picture has no line of its own."""
    with pytest.raises(DataError) as error:
        read_picture(Path("no/such.png"), PHI4MM)
    assert not re.search("\n", str(error.value))
