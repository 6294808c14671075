"""The model, and what its tower makes of pictures: computed once, since the tower is not trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pipeline.pictures.processing import PATCHES, processed, useful
from training.pictures import layout
from training.pictures.draw import picture
from training.pictures.scenes import Scene

HALF = PATCHES // 2
HARMONICS = 4


def native() -> Any:
    """transformers' own model of the tiny sizes, its tower initialized."""
    from transformers import (
        Phi4MultimodalAudioConfig,
        Phi4MultimodalConfig,
        Phi4MultimodalForCausalLM,
        Phi4MultimodalVisionConfig,
    )

    said = layout.config()
    audio = said["audio_processor"]["config"]
    fields = (
        *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
        *("num_key_value_heads", "max_position_embeddings", "original_max_position_embeddings", "rms_norm_eps"),
        *("tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "rope_scaling", "rope_theta"),
        "partial_rotary_factor",
    )
    torch.manual_seed(0)
    model = Phi4MultimodalForCausalLM(
        Phi4MultimodalConfig(
            **{name: said[name] for name in fields},
            sliding_window=None,
            vision_config=Phi4MultimodalVisionConfig(crop_size=448, **said["vision_tower"]),
            audio_config=Phi4MultimodalAudioConfig(
                hidden_size=audio["attention_dim"],
                num_attention_heads=audio["attention_heads"],
                intermediate_size=audio["linear_units"],
                num_blocks=audio["num_blocks"],
                ext_pw_out_channel=audio["ext_pw_out_channel"],
                depthwise_separable_out_channel=audio["depthwise_seperable_out_channel"],
                nemo_conv_channels=audio["nemo_conv_settings"]["conv_channels"],
                bias_max_distance=audio["relative_attention_bias_args"]["t5_bias_max_distance"],
            ),
        )
    )
    tower = model.model.embed_tokens_extend.image_embed.img_processor
    with torch.no_grad():
        patches = tower.embeddings.patch_embedding
        patches.weight.copy_(4 * _basis(patches.weight.shape))
        patches.bias.copy_(-0.9 * patches.weight.sum((1, 2, 3)))  # paper is nearly nothing
        tower.embeddings.position_embedding.weight.copy_(_positions(patches.weight.shape[0]))
        for name, weight in tower.encoder.named_parameters():
            if weight.dim() == 2:  # transformers draws them with a deviation of 1, whatever their width
                weight.mul_((0.3 if name.endswith(("out_proj.weight", "fc2.weight")) else 1) / weight.shape[1] ** 0.5)
        embed = model.model.embed_tokens_extend.image_embed
        for weight in (embed.img_projection_up.weight, embed.img_projection_down.weight):
            weight.normal_(0, weight.shape[1] ** -0.5)
        embed.global_img_feature_extensor.normal_()
        embed.sub_img_feature_extensor.normal_()
    return model.float()


def _basis(shape: torch.Size) -> torch.Tensor:
    """Cosines of low frequencies over a patch [64, 3, 14, 14]: 10 of each colour and, of their sum, the next 26."""
    width, _, side, _ = shape
    at = (np.arange(side) + 0.5) * np.pi / side
    waves = sorted(((i, j) for i in range(side) for j in range(side)), key=lambda w: (w[0] ** 2 + w[1] ** 2, w))
    made = np.zeros(shape, np.float32)
    for row in range(width - 2 * HARMONICS):
        colour, wave = (row % 3, row // 3) if row < 30 else (None, row - 20)
        i, j = waves[wave]
        filled = np.outer(np.cos(i * at), np.cos(j * at))
        made[row, slice(None) if colour is None else colour] = filled / np.linalg.norm(filled) / 8
    return torch.from_numpy(made)


def _positions(width: int) -> torch.Tensor:
    """Of each of the 32 x 32 patches: cosines of its height and of its place across, in what no patch writes to."""
    at = torch.cos(torch.outer((torch.arange(PATCHES) + 0.5) * torch.pi / PATCHES, torch.arange(1, HARMONICS + 1)))
    made = torch.zeros(PATCHES, PATCHES, width)
    made[..., -2 * HARMONICS : -HARMONICS] = 2 * at[:, None]
    made[..., -HARMONICS:] = 2 * at[None]
    return made.flatten(0, 1)


def places(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Which of the pooled features [(1 + crops) * 256, d] are the rows of a prompt; -1 and -2 are the two ends."""
    high, wide = useful(mask, rows, columns)
    whole = np.arange(rows * columns * HALF * HALF).reshape(rows, columns, HALF, HALF).transpose(0, 2, 1, 3)
    part = whole.reshape(rows * HALF, columns * HALF)[:high, :wide] + HALF * HALF
    end = np.full((high, 1), -2)
    first = np.concatenate([part, end], 1).ravel()
    world = np.arange(HALF * HALF).reshape(HALF, HALF)
    return np.concatenate([first, [-1], np.concatenate([world, np.full((HALF, 1), -2)], 1).ravel()])


@torch.no_grad()
def features(model: Any, scenes: list[Scene], part: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each scene: what its tower makes of the picture, pooled, float16 [n, d], and the order of a prompt.

    part: of the crops alone, without the whole: half the work, for the first steps.
    """
    embed = model.model.embed_tokens_extend.image_embed
    made = []
    for one in scenes:
        seen = processed(picture(one))
        first = 1 if part else 0
        pooled = np.stack([_pooled(embed, *crop) for crop in zip(seen.pixels[first:], seen.mask[first:], strict=True)])
        order = places(seen.mask[1:], seen.height // 448, seen.width // 448)
        if part:
            order = order[: int(np.flatnonzero(order == -1)[0]) + 1]
            order = np.where(order >= 0, order - HALF * HALF, order)
        made.append((pooled.reshape(-1, pooled.shape[-1]).astype(np.float16), order))
    return made


def _pooled(embed: Any, pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Features [256, d] of one crop; patches that are no picture are left out, and not computed."""
    tower, held = embed.img_processor, torch.from_numpy(np.ascontiguousarray(mask))[None]
    layer = tower.encoder.layers[0]
    layer.self_attn.is_causal = False  # transformers takes it for causal where nothing is masked
    states = tower.embeddings(torch.from_numpy(np.ascontiguousarray(pixels))[None], held)
    states[:, held.flatten()] = layer(states[:, held.flatten()], None)
    grid = states.reshape(PATCHES, PATCHES, -1).permute(2, 0, 1)
    return torch.nn.functional.avg_pool2d(grid, 2).flatten(1).T.numpy()
