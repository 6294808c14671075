"""Which tensor of the checkpoint, and which rows of it, an ONNX weight is, by the model builder's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.model.checkpoint import EMBEDDING, HEAD

NODE = re.compile(r"(?P<layer>model\.layers\.\d+\.)(?:attn|mlp)\.(?P<part>\w+)\.MatMul\.weight")
QKV, GATE_UP = "self_attn.qkv_proj", "mlp.gate_up_proj"
TENSORS = {
    "qkv_proj": QKV,
    "q_proj": QKV,
    "k_proj": QKV,
    "v_proj": QKV,  # DirectML's graph has them apart
    "o_proj": "self_attn.o_proj",
    "down_proj": "mlp.down_proj",
    "gate_proj": GATE_UP,
    "up_proj": GATE_UP,
}


@dataclass(frozen=True)
class Source:
    """A tensor of the checkpoint, and the part of its rows by the builder's name; empty: all."""

    tensor: str
    part: str = ""

    def rows(self, count: int, config: Mapping[str, Any]) -> slice:
        """Of the tensor's `count` rows, those of the part: queries, keys, values; gate, up."""
        if self.part in ("gate_proj", "up_proj"):
            first = count // 2 if self.part == "up_proj" else 0
            return slice(first, first + count // 2)
        if self.part in ("q_proj", "k_proj", "v_proj"):
            heads, shared = config["num_attention_heads"], config["num_key_value_heads"]
            size = count // (heads + 2 * shared)
            first = {"q_proj": 0, "k_proj": heads, "v_proj": heads + shared}[self.part] * size
            return slice(first, first + size * (heads if self.part == "q_proj" else shared))
        return slice(None)


def source_of(weight: str) -> Source | None:
    """What the weight of a MatMul or of the embedding is; None for one that is not known."""
    if weight == EMBEDDING:
        return Source(EMBEDDING)
    if weight.startswith("lm_head."):
        return Source(HEAD)
    found = NODE.fullmatch(weight)
    tensor = TENSORS.get(found["part"]) if found else None
    return Source(f"{found['layer']}{tensor}.weight", found["part"]) if found and tensor else None
