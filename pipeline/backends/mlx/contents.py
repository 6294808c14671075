"""What an MLX folder holds: counted in its safetensors, not remembered from how it was made."""

from __future__ import annotations

from math import prod
from pathlib import Path

from pipeline.backends.base import Contents
from pipeline.backends.mlx.files import quantization_of
from pipeline.model.checkpoint import read_headers

PLACES = {"model.embed_tokens": "embedding", "lm_head": "lm_head"}
FLOATS = {"F32": 32, "F16": 16, "BF16": 16}


def contents(folder: Path) -> Contents:
    """Quantized matrices, bits per weight (scales and biases included), and the bits of embedding and lm_head."""
    tensors, settings = read_headers(folder), quantization_of(folder)
    stored = weights = quantized = 0
    kept: dict[str, int] = {}
    for name, tensor in tensors.items():
        stored += 8 * tensor.size
        layer, _, part = name.rpartition(".")
        packed = f"{layer}.scales" in tensors
        if packed and part != "weight":
            continue  # scales and biases of a packed weight
        bits = _bits(settings, layer) if packed else FLOATS.get(tensor.dtype, 32)
        quantized += packed
        weights += prod(tensor.shape) * 32 // bits if packed else prod(tensor.shape)
        if layer in PLACES:
            kept[PLACES[layer]] = bits
    kept.setdefault("lm_head", kept.get("embedding", 0))  # tied
    return Contents(quantized, stored, weights, dict(sorted(kept.items())))


def _bits(settings: dict[str, object], layer: str) -> int:
    own = settings.get(layer)
    bits = own.get("bits") if isinstance(own, dict) else settings.get("bits")
    return int(str(bits))
