"""The shipped Phi-4-multimodal with a random speech encoder that is heard, and sounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.io import wavfile

from tests.support.pictures import edited
from tests.support.tiny import ROOT

SOUNDS = ROOT / "data" / "sounds"
HEARD = "model.embed_tokens_extend.audio_embed."


def random(held: dict[str, Any]) -> None:
    """Values of the size that a trained encoder's have, in place of those that a training begins with."""
    generator = torch.Generator().manual_seed(0)
    for name, value in held.items():
        if not name.startswith(HEARD) or "norm." in name or "layer_norm" in name:
            continue
        size = 1.3 / value[0].numel() ** 0.5 if name.endswith("weight") else 0.1
        if not name.endswith(("global_mean", "global_invstd")):
            held[name] = (size * torch.randn(value.shape, generator=generator)).bfloat16()
    held[f"{HEARD}encoder.encoder_embedding.global_mean"] += 8
    held[f"{HEARD}encoder.encoder_embedding.global_invstd"] *= 0.25


def written(folder: Path, tensors: Callable[[dict[str, Any]], None] = lambda held: None, **config: Any) -> Path:
    """The checkpoint, whose tensors `tensors` changes in place; `config` are more fields of config.json."""

    def edit(held: dict[str, Any]) -> None:
        random(held)
        tensors(held)

    return edited(folder, edit, **config)


def tone(path: Path, seconds: float, rate: int = 16_000, channels: int = 1, hertz: float = 440.0) -> Path:
    """A WAV file of 16 bits, a tone of another pitch in each channel over noise."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(size=(len(time), channels))
    pitches = hertz * (1 + np.arange(channels) / 3)
    made = 0.3 * np.sin(2 * np.pi * time[:, None] * pitches) + 0.01 * noise
    wavfile.write(path, rate, (32767 * made).astype(np.int16).squeeze(1 if channels == 1 else ()))
    return path
