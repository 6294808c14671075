"""Which tensors a decoder of the Phi family has, and their shapes, by its config."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint import EMBEDDING, HEAD, MERGE, Tensor

Shape = tuple[int, ...]
PACKED = re.compile(r"\.(qweight|qzeros|g_idx|absmax|quant_map|weight_packed|weight_scale(_inv)?|scales|SCB)$")
ADAPTER = re.compile(r"\.(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector)\b")
FETCH = "copy or fetch the checkpoint again"


def check_tensors(tensors: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> None:
    """Raises CheckpointError for tensors that are missing, too many, or of another shape than config.json says."""
    required, allowed = dict(_required(config)), dict(_allowed(config))
    absent = sorted(required.keys() - tensors.keys())
    extra = sorted(tensors.keys() - required.keys() - allowed.keys())
    packed = [name for name in extra if PACKED.search(name)]
    if packed:
        raise CheckpointError(
            f"its weights are quantized ({packed[0]})", where=where, hint="take the checkpoint from before quantization"
        )
    adapted = [name for name in extra if ADAPTER.search(name)]
    if adapted:
        raise CheckpointError(f"it holds an adapter's tensors ({adapted[0]})", where=where, hint=MERGE)
    if absent:
        raise CheckpointError(f"{len(absent)} tensors are missing, the first is {absent[0]}", where=where, hint=FETCH)
    if extra:
        raise CheckpointError(
            f"{len(extra)} tensors are not of this architecture, the first is {extra[0]}", where=where, hint=FETCH
        )
    for name, shape in {**required, **allowed}.items():
        if name in tensors and tensors[name].shape != shape:
            raise CheckpointError(
                f"{name} has shape {list(tensors[name].shape)}, config.json says {list(shape)}", where=where
            )


def shapes_of(config: Mapping[str, Any]) -> dict[str, Shape]:
    """The shapes of all tensors that it must have or may have."""
    return {**dict(_required(config)), **dict(_allowed(config))}


def matrix_parts(shapes: Mapping[str, Shape], config: Mapping[str, Any]) -> dict[str, tuple[str, int, int, int]]:
    """By module: the tensor that its matrix is in, its first row there, and how many rows and columns it has.

    Those of qkv_proj and gate_up_proj are there whole, and by the names that they have unfused.
    """
    queries, keys, _ = _sizes(config)
    inner = config["intermediate_size"]
    fused = {
        "qkv_proj": (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)),
        "gate_up_proj": (("gate_proj", inner), ("up_proj", inner)),
    }
    found = {}
    for name, shape in shapes.items():
        module = name.removesuffix(".weight")
        if len(shape) != 2 or module == name:
            continue
        found[module] = (name, 0, *shape)
        parent, _, last = module.rpartition(".")
        first = 0
        for part, rows in fused.get(last, ()):
            found[f"{parent}.{part}"] = (name, first, rows, shape[1])
            first += rows
    return found


def _sizes(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Width of queries, of keys (and values), and of hidden states."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    return heads * head, (config.get("num_key_value_heads") or heads) * head, hidden


def _required(config: Mapping[str, Any]) -> Iterator[tuple[str, Shape]]:
    queries, keys, hidden = _sizes(config)
    inner, experts = config["intermediate_size"], config.get("num_local_experts") or 0
    yield EMBEDDING, (config["vocab_size"], hidden)
    yield "model.norm.weight", (hidden,)
    if not config.get("tie_word_embeddings"):
        yield HEAD, (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{at}{norm}.weight", (hidden,)
        yield f"{at}self_attn.o_proj.weight", (hidden, queries)
        if not experts:
            yield f"{at}self_attn.qkv_proj.weight", (queries + 2 * keys, hidden)
            yield f"{at}mlp.gate_up_proj.weight", (2 * inner, hidden)
            yield f"{at}mlp.down_proj.weight", (hidden, inner)
            continue
        for part, width in (("q", queries), ("k", keys), ("v", keys)):
            yield f"{at}self_attn.{part}_proj.weight", (width, hidden)
        yield f"{at}block_sparse_moe.gate.weight", (experts, hidden)
        for expert in range(experts):
            inside = f"{at}block_sparse_moe.experts.{expert}."
            yield from ((f"{inside}w1.weight", (inner, hidden)), (f"{inside}w2.weight", (hidden, inner)))
            yield f"{inside}w3.weight", (inner, hidden)


def _allowed(config: Mapping[str, Any]) -> Iterator[tuple[str, Shape]]:
    """A head beside a tied embedding; PhiMoE's norms and projections have biases."""
    queries, keys, hidden = _sizes(config)
    yield HEAD, (config["vocab_size"], hidden)
    if not config.get("num_local_experts"):
        return
    yield "model.norm.bias", (hidden,)
    yield "lm_head.bias", (config["vocab_size"],)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{at}{norm}.bias", (hidden,)
        for part, width in (("q", queries), ("k", keys), ("v", keys), ("o", hidden)):
            yield f"{at}self_attn.{part}_proj.bias", (width,)
