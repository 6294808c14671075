"""Four-bit rounding to nearest, simulated: what the crudest quantization does to the weights."""

from __future__ import annotations

import copy

import torch


def rounded(weight: torch.Tensor, block: int) -> torch.Tensor:
    """``weight`` in 16 levels per block along its inputs; the largest weight of a block is met exactly."""
    outputs, inputs = weight.shape
    blocks = weight.reshape(outputs, inputs // block, block)
    largest = blocks.gather(2, blocks.abs().argmax(dim=2, keepdim=True))
    scale = largest / -8
    levels = (blocks / torch.where(scale == 0, 1, scale)).round().clamp(-8, 7)
    return (levels * scale).reshape(outputs, inputs)


def rounded_model(model: torch.nn.Module, block: int) -> torch.nn.Module:
    """A copy of ``model`` with all its linear layers rounded, the head included."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for module in other.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.copy_(rounded(module.weight, block))
    return other
