"""Random-weight Phi-3 checkpoints, written without any ML library."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "models" / "phi-tiny"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)


def tiny_config(**changes: Any) -> dict[str, Any]:
    """config.json of a one-layer model with the shipped tokenizer."""
    config: dict[str, Any] = json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))
    config.update(num_hidden_layers=1, intermediate_size=256, dtype="float32")
    config.update(changes)
    return config


def tensors_of(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights, float32, of every tensor that a Phi-3 decoder has."""
    random = np.random.default_rng(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    qkv = head * (config["num_attention_heads"] + 2 * config["num_key_value_heads"])

    def matrix(*shape: int) -> np.ndarray:
        return random.normal(0, 0.06, shape).astype(np.float32)

    weights = {"model.embed_tokens.weight": matrix(config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        weights[prefix + "self_attn.qkv_proj.weight"] = matrix(qkv, hidden)
        weights[prefix + "self_attn.o_proj.weight"] = matrix(hidden, head * config["num_attention_heads"])
        weights[prefix + "mlp.gate_up_proj.weight"] = matrix(2 * inner, hidden)
        weights[prefix + "mlp.down_proj.weight"] = matrix(hidden, inner)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}{norm}.weight"] = 1 + matrix(hidden)
    weights["model.norm.weight"] = 1 + matrix(hidden)
    if not config.get("tie_word_embeddings"):
        weights["lm_head.weight"] = matrix(config["vocab_size"], hidden)
    return weights


def write_checkpoint(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A whole checkpoint folder: config, one shard, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(**changes)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    save_file(tensors_of(config, seed), folder / "model.safetensors", metadata={"format": "pt"})
    for name in (*TOKENIZER, "generation_config.json"):
        if (SHIPPED / name).is_file():
            shutil.copyfile(SHIPPED / name, folder / name)
    return folder


def write_canonical(folder: Path, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A whole checkpoint folder as fetch leaves it, with RoPE in both spellings; returns its config."""
    from pipeline.model.rope import with_both_spellings

    write_checkpoint(folder, seed, **changes)
    config = with_both_spellings(tiny_config(**changes))
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return config
