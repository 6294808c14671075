"""Phi-4-multimodal's speech encoder of transformers' own module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.pictures.kinds import PHI4MM_SPEECH
from pipeline.pictures.sound import Sound

if TYPE_CHECKING:
    import torch


def empty(sizes: dict[str, int], hidden: int) -> Any:
    """The torch module without values: encoder and projector of sounds alone."""
    import torch
    from transformers import Phi4MultimodalAudioConfig, Phi4MultimodalConfig
    from transformers.models.phi4_multimodal.modeling_phi4_multimodal import Phi4MultimodalAudioEmbedding

    config = Phi4MultimodalConfig(hidden_size=hidden, audio_config=Phi4MultimodalAudioConfig(**sizes))
    with torch.device("meta"):
        tower = Phi4MultimodalAudioEmbedding(config)
    tower.up_proj_for_vision_speech = tower.down_proj_for_vision_speech = torch.nn.Identity()
    tower.encoder.set_attn_implementation("eager")
    return tower.to_empty(device="cpu")


def rows_of(tower: Any, sound: Sound) -> torch.Tensor:
    """What takes a sound's places, float32 [tokens, hidden]."""
    import torch

    made: torch.Tensor = tower(
        torch.full((1, sound.tokens), PHI4MM_SPEECH.place),
        torch.zeros(1, sound.tokens, tower.config.hidden_size),
        audio_input_features=torch.from_numpy(sound.features)[None],
        audio_embed_sizes=[sound.tokens],
    )
    return made[0]
