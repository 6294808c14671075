"""A sound is read as Microsoft's code reads it, and a checkpoint that hears is taken apart whole or refused by name."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.io import wavfile

from pipeline.errors import CheckpointError, DataError
from pipeline.pictures import sound
from pipeline.pictures.rows import MEDIA, fields
from pipeline.pictures.sound import log_mel, read_sound
from pipeline.pictures.tower import features, load_tower
from pipeline.pictures.triples import read_triples
from tests.support.pictures import fetched
from tests.support.sounds import SOUNDS, tone, written
from tests.unit.test_pictures import without
from training import sounds

HEARD = "model.embed_tokens_extend.audio_embed."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return fetched(written(folder / "source"), folder / "speech", "speech")


@pytest.mark.parametrize("seconds", [0.025, 1.7, 42])
def test_features_are_those_of_transformers(seconds: float, tmp_path: Path) -> None:
    from transformers import Phi4MultimodalFeatureExtractor

    path = tone(tmp_path / "a.wav", seconds)
    own, its = read_sound(path), Phi4MultimodalFeatureExtractor()
    made = its(wavfile.read(path)[1] / np.float32(32768), sampling_rate=16_000)
    assert own.features.shape == made["audio_input_features"].shape[1:]
    assert np.abs(own.features - made["audio_input_features"][0].numpy()).max() < 1e-4
    assert own.tokens == int(made["audio_embed_sizes"][0])


def test_at_8_khz_there_is_nothing_above_4() -> None:
    """As many frames, the same below 4 kHz about, nothing above: Microsoft's "fillzero"."""
    time = np.arange(16_000) / 16_000
    samples = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    full, half = log_mel(samples, 16_000), log_mel(samples[::2], 8_000)
    assert full.shape == half.shape
    assert (half[:, 66:] == 0).all()
    assert half[:, :60].argmax(axis=1).tolist() == full[:, :60].argmax(axis=1).tolist()


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "float32", "float64"])
def test_samples_of_every_type_are_the_same_sound(kind: str, tmp_path: Path) -> None:
    loud = 0.5 * np.sin(np.arange(4000) * 0.2)
    scale = {"uint8": 127, "int16": 32767, "int32": 2**31 - 1}.get(kind, 1)
    made = (loud * scale + (128 if kind == "uint8" else 0)).astype(kind)
    wavfile.write(tmp_path / "a.wav", 16_000, made)
    wavfile.write(tmp_path / "two.wav", 16_000, np.stack([made, made], 1))
    own = read_sound(tmp_path / "a.wav").features
    assert np.abs(own.max(axis=1) - log_mel(loud.astype(np.float32), 16_000).max(axis=1)).max() < 0.02
    assert (read_sound(tmp_path / "two.wav").features == own).all()


def test_samples_of_24_bits_are_read(tmp_path: Path) -> None:
    made = np.random.default_rng(0).integers(-8000, 8000, 800)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 3, 16_000, len(made), "NONE", ""))
        file.writeframes((made << 8).astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes())
    assert (
        np.abs(read_sound(tmp_path / "a.wav").features - log_mel((made / 2**15).astype(np.float32), 16_000)).max()
        < 1e-4
    )


def test_a_sound_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tone(tmp_path / "other.wav", 0.5, 44_100), tone(tmp_path / "short.wav", 0.02), tone(tmp_path / "large.wav", 1)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "large.wav").read_bytes()[:-300])
    (tmp_path / "head.wav").write_bytes((tmp_path / "large.wav").read_bytes()[:30])
    (tmp_path / "text.wav").write_text("no sound")
    wavfile.write(tmp_path / "nan.wav", 16_000, np.full(800, np.nan, np.float32))
    for name, said in {
        "away.wav": "there is no such sound",
        "text.wav": "no WAV file, or a broken one",
        "cut.wav": "no WAV file, or a broken one",
        "head.wav": "no WAV file, or a broken one",
        "other.wav": "44,100 samples a second; 16,000 and 8,000 are read; ffmpeg -i other.wav -ar 16000",
        "nan.wav": "a sample is no number",
        "short.wav": "320 samples are less than one frame of 25 ms",
    }.items():
        with pytest.raises(DataError, match=f"{name}: .*{said}") as error:
            read_sound(tmp_path / name)
        assert "\n" not in str(error.value)
    monkeypatch.setattr(sound, "MOST_BYTES", 20_000)
    with pytest.raises(DataError, match="large.wav: .*are more than"):
        read_sound(tmp_path / "large.wav")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "?", "answer": "."}, "`audio` is missing or no text: a row has audio, question, answer"),
        ({"image": "a.png", "question": "?", "answer": "."}, "`audio` is missing"),
        ({"audio": "a.wav", "question": "<|audio_1|>or<|audio_2|>?", "answer": "."}, "a row has one sound"),
        ({"audio": "a.wav", "question": "<|image_1|>?", "answer": "."}, r"names <\|image_1\|>, a row has one sound"),
        ({"audio": "/a.wav", "question": "?", "answer": "."}, "not below"),
    ],
)
def test_a_row_that_does_not_fit_is_one_line(row: dict[str, str], said: str) -> None:
    with pytest.raises(DataError, match=f"rows.jsonl:3: .*{said}"):
        fields(row, MEDIA["speech"], "rows.jsonl:3")


def test_triples_are_asked_as_the_chat_template_has_it(model: Path) -> None:
    one = read_triples(SOUNDS / "evaluation.jsonl", model, 4096, 1)[0]
    assert one.prompt == f"<|user|><|audio_1|>{one.question}<|end|><|assistant|>"
    assert (one.ids == 200011).sum() == one.places == read_sound(SOUNDS / one.file).tokens
    with pytest.raises(DataError, match=r"evaluation.jsonl:1: \d+ tokens with its sound, the context is 20"):
        read_triples(SOUNDS / "evaluation.jsonl", model, 20)


def unknown(held: dict[str, Any]) -> None:
    held[f"{HEARD}encoder.encoders.0.gate"] = torch.zeros(2)


def wider(held: dict[str, Any]) -> None:
    held[f"{HEARD}audio_projection.speech.2.bias"] = torch.zeros(129)


@pytest.mark.parametrize(
    ("edit", "config", "said"),
    [
        (without(".speech."), {}, "it lacks its speech adapter: no tensor …lora_A.speech.weight"),
        (without("audio_embed"), {}, "it lacks its speech encoder: no tensor .*audio_embed"),
        (without("relative_attention_bias"), {}, "not whole: tensor .*bias_values.weight is missing"),
        (without("conv.glu.b1"), {}, "not whole: tensor .*encoders.0.conv.glu.b1 is missing"),
        (
            without("audio_projection.speech.0"),
            {},
            "2 tensors of its tower are missing, the first is .*speech.0.weight",
        ),
        (unknown, {}, "a tensor that is not known: .*encoders.0.gate"),
        (wider, {}, r"audio_projection.speech.2.bias has shape \[129\]"),
        (lambda held: None, {"speech_lora": {"r": 0}}, "config.json's speech_lora has no positive r"),
        (
            lambda held: None,
            {"audio_processor": {"config": {"chunk_size": 18}}},
            r"audio_processor.config.chunk_size is 18; -1 is computed here",
        ),
    ],
)
def test_a_checkpoint_that_lacks_something_is_refused_by_name(
    edit: Callable[[dict[str, Any]], None], config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=said):
        fetched(written(tmp_path / "model", edit, **config), tmp_path / "out", "speech")


def test_what_no_sound_goes_through_may_be_missing(tmp_path: Path) -> None:
    def blind(held: dict[str, Any]) -> None:
        without("image_embed")(held), without(".vision.")(held)

    made = fetched(written(tmp_path / "model", blind), tmp_path / "out", "speech")
    assert (made / "speech" / "model.safetensors").is_file() and not (made / "vision").exists()


def test_the_fetched_decoder_has_its_speech_adapter_and_no_other(model: Path) -> None:
    source = model.parent / "source"
    own, raw = load_file(model / "model.safetensors"), load_file(source / "model.safetensors")
    stem = "model.layers.1.mlp.down_proj."
    a, b = (raw[f"{stem}lora_{letter}.speech.weight"].float() for letter in "AB")
    said = json.loads((source / "config.json").read_text("utf-8"))["speech_lora"]
    merged = raw[f"{stem}base_layer.weight"].float() + said["lora_alpha"] / said["r"] * b @ a
    assert torch.equal(own[f"{stem}weight"], merged.bfloat16())


def test_the_parts_are_transformers_whole_model(model: Path, tmp_path: Path) -> None:
    """Its own class, filled by names that are written out in the training's layout, computes what the parts do."""
    from training.pictures import layout
    from training.pictures.tower import native

    whole = native().eval()
    whole.model.embed_tokens_extend.audio_embed.encoder.set_attn_implementation("eager")
    raw = {layout.old_name(name): name for name in whole.state_dict()}
    state = load_file(model.parent / "source" / "model.safetensors")
    plain = {raw[name]: value.float() for name, value in state.items() if name in raw}
    decoder = {name: value.float() for name, value in load_file(model / "model.safetensors").items()}
    assert whole.load_state_dict({**plain, **decoder}, strict=False).missing_keys == ["lm_head.weight"]
    heard = read_sound(tone(tmp_path / "a.wav", 1.3))
    ids = torch.tensor([[5, 6, *[200011] * heard.tokens, 7, 8, 9]])
    with torch.inference_mode():
        words = whole.model.embed_tokens(torch.where(ids == 200011, 0, ids))
        rows = whole.model.embed_tokens_extend(
            ids,
            words,
            audio_input_features=torch.from_numpy(heard.features)[None],
            audio_embed_sizes=torch.tensor([heard.tokens]),
        )
    assert np.abs(rows[0, 2:-3].numpy() - features(load_tower(model), heard)).max() < 1e-6


def test_the_shipped_sounds_are_those_that_the_script_draws(tmp_path: Path) -> None:
    sounds.write(tmp_path)
    names = ["evaluation.jsonl", *(f"audio/0{number}.wav" for number in range(8))]
    assert [name for name in names if (tmp_path / name).read_bytes() != (SOUNDS / name).read_bytes()] == []
