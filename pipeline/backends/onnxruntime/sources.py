"""Which tensor of the checkpoint an ONNX weight is, by the names that the model builder gives."""

from __future__ import annotations

import re

from pipeline.model.checkpoint import EMBEDDING, HEAD

NODE = re.compile(r"model\.layers\.(\d+)\.(attn|mlp)\.(\w+)\.MatMul\.weight")
TENSORS = {"qkv_proj": "self_attn.qkv_proj", "o_proj": "self_attn.o_proj", "down_proj": "mlp.down_proj"}
HALVES = {"gate_proj": 0, "up_proj": 1}  # of the checkpoint's gate_up_proj


def source_of(weight: str) -> tuple[str, int | None] | None:
    """(tensor, half) of the weight of a MatMul or of the embedding; the half where it is one of two. None: unknown."""
    if weight == EMBEDDING:
        return EMBEDDING, None
    if weight.startswith("lm_head."):
        return HEAD, None
    found = NODE.fullmatch(weight)
    if not found:
        return None
    number, _, part = found.groups()
    if part in HALVES:
        return f"model.layers.{number}.mlp.gate_up_proj.weight", HALVES[part]
    return (f"model.layers.{number}.{TENSORS[part]}.weight", None) if part in TENSORS else None
