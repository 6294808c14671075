"""Outlier channels, as large language models have them and a small one has not.

A few channels of a large model carry activations many times larger than the others, which is what makes rounding
weights to four bits and activations to eight cost quality there (Dettmers et al. 2022, arXiv:2208.07339; Xiao et
al. 2022, arXiv:2211.10438). A model of a few million parameters has none, and would promise too much. Here some
channels are multiplied by a power of two, and the weights that read them are divided by it: the function that the
model computes stays the same to the last bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import Phi3ForCausalLM

SHARE = 0.06
LARGEST_EXPONENT = 5


def _factors(channels: int, draw: torch.Generator) -> torch.Tensor:
    factors = torch.ones(channels)
    chosen = torch.randperm(channels, generator=draw)[: int(channels * SHARE)]
    exponents = torch.randint(1, LARGEST_EXPONENT + 1, (len(chosen),), generator=draw)
    factors[chosen] = 2.0 ** exponents.float()
    return factors


def add(model: Phi3ForCausalLM, seed: int) -> None:
    """Give every layer of ``model`` outlier channels, in place."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for norm, reader in (
                (layer.input_layernorm, attention.qkv_proj),
                (layer.post_attention_layernorm, mlp.gate_up_proj),
            ):
                factors = _factors(norm.weight.numel(), draw)
                norm.weight.mul_(factors)
                reader.weight.div_(factors)
            factors = _factors(mlp.down_proj.in_features, draw)
            mlp.gate_up_proj.weight[mlp.down_proj.in_features :].mul_(factors[:, None])
            mlp.down_proj.weight.div_(factors)
