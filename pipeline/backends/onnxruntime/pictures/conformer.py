"""Speech encoder and projector as one ONNX graph for a sound of any length: traced from transformers' own modules.

Beyond 40 s, which are 500 tokens, the encoder takes pieces of that length, the last filled up with zeros, as
transformers does it; of one sound no frame is masked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.backends.onnxruntime.pictures.trace import exported
from pipeline.pictures.conformer_layout import MELS

if TYPE_CHECKING:
    import onnx

NAMES = {name: name for name in ("audio_embeds", "audio_sizes")}  # GenAI's names of inputs → the graph's
OUTPUT = "audio_features"
PIECE = 500  # tokens


def traced(embed: Any) -> onnx.ModelProto:
    """The graph: audio_embeds [1, frames, 80] and audio_sizes [1], its tokens → rows [tokens, width].

    Its weights are inputs (`trace.exported`).
    """
    import torch

    example = (torch.zeros(1, 160, MELS), torch.tensor([20]))
    axes = {"audio_embeds": {1: "frames"}, OUTPUT: {0: "audio_tokens"}}
    return exported(module(embed), example, [*NAMES.values()], OUTPUT, axes)


def module(embed: Any) -> Any:
    """The torch module of transformers' Phi4MultimodalAudioEmbedding for one sound, its pieces beside each other."""
    import torch

    encoder = embed.encoder

    class Hearing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = embed

        def forward(self, audio_embeds: Any, audio_sizes: Any) -> Any:
            heard, _ = encoder.embed(encoder.encoder_embedding(audio_embeds), None)
            count: Any = torch._shape_as_tensor(heard)[1]
            piece = count.clamp(max=PIECE)
            pieces = (count + piece - 1) // piece
            places = torch.arange(pieces * piece)
            held = (places < count).to(heard.dtype)[:, None]
            hidden = (heard[0, places.clamp(max=count - 1)] * held).reshape(pieces, piece, heard.shape[-1])
            bias = encoder.relative_attention_bias_layer(hidden)
            for layer in encoder.encoders:
                hidden = layer(hidden, bias)
            rows = hidden.flatten(0, 1)[: audio_sizes[0]]
            return embed.down_proj_for_speech(torch.nn.functional.gelu(embed.up_proj_for_speech(rows)))

    return Hearing().eval()
