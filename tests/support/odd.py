"""Odd checkpoint folders, as people have them: what was done to a plain one, and what is right.

The page docs/checkpoints.md is made from this table.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tests.support.edits import (
    INDEX,
    WEIGHTS,
    adapter,
    config,
    edit,
    long,
    marked,
    mixed,
    shape,
    shards,
    truncating,
    weights,
)
from tests.support.tiny import write_checkpoint


@dataclass(frozen=True)
class Odd:
    """`refused` are the words by which it is, `planning` or in fetch; none where it is read, as transformers does."""

    what: str
    make: Callable[[Path], None]
    refused: str = ""
    planning: bool = False

    @property
    def right(self) -> str:
        if not self.refused:
            return "read as transformers reads it"
        return f"refused {'while planning' if self.planning else 'by fetch'}: “{self.refused}”"


LONG = {"original_max_position_embeddings": 1024}
ODD = {
    "plain": Odd("nothing", lambda folder: None),
    "single file beside shards": Odd("a single file beside shards of other values", lambda f: shards(f, single=True)),
    "shards": Odd("two shards and their index", shards),
    "index of one": Odd(
        "an index whose one shard is called otherwise",
        lambda f: (
            (f / WEIGHTS).rename(f / "weights.safetensors"),
            (f / INDEX).write_text(
                json.dumps(
                    {
                        "metadata": {},
                        "weight_map": dict.fromkeys(load_file(f / "weights.safetensors"), "weights.safetensors"),
                    }
                )
            ),
        )[0],
    ),
    "duplicate": Odd("a tensor in two shards", lambda f: shards(f, twice=True), "is in model-00001-of-"),
    "inv_freq": Odd(
        "rotary frequencies stored as tensors",
        weights(lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(16, np.float32)})),
    ),
    "unknown tensor": Odd(
        "a tensor that a Phi-3 has not",
        weights(lambda t: t.update({"model.layers.0.extra.weight": np.ones(4, np.float32)})),
        "not of this architecture, the first is model.layers.0.extra.weight",
    ),
    "lora inside": Odd(
        "an adapter's tensors among the weights",
        weights(lambda t: t.update({"model.layers.0.self_attn.o_proj.lora_A.weight": np.ones((8, 256), np.float32)})),
        "it holds an adapter's tensors",
    ),
    "gptq": Odd(
        "packed weights",
        weights(lambda t: t.update({"model.layers.0.mlp.down_proj.qweight": np.ones((8, 8), np.int32)})),
        "its weights are quantized",
    ),
    "stale quantization_config": Odd(
        "plain weights, quantization_config left in config.json",
        config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "quantization_config (bitsandbytes)",
    ),
    "adapter beside": Odd("adapter_config.json beside the base", adapter, "adapter_config.json lies beside"),
    "adapter alone": Odd(
        "an adapter without a base", lambda f: adapter(f, alone=True), "it is an adapter (adapter_config.json)", True
    ),
    "tied with its own head": Odd("tied in config.json, with another head", config(tie_word_embeddings=True)),
    "tied": Odd("tied, without lm_head", shape(tie_word_embeddings=True)),
    "head twice": Odd(
        "tied, with the same table again as lm_head",
        lambda f: (
            config(tie_word_embeddings=True)(f),
            weights(lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"]}))(f),
        )[0],
    ),
    "no head": Odd(
        "not tied, without lm_head",
        weights(lambda t: t.__delitem__("lm_head.weight")),
        "the first is lm_head.weight",
    ),
    "wrong shape": Odd(
        "a matrix of another shape",
        weights(lambda t: t.update({"model.layers.0.mlp.down_proj.weight": np.ones((256, 255), np.float32)})),
        "model.layers.0.mlp.down_proj.weight has shape [256, 255], config.json says [256, 256]",
    ),
    "mixed types": Odd("a bf16 body, norms and head in fp32", mixed),
    "attention_factor": Odd(
        "LongRoPE with an attention_factor", shape(rope_scaling=long(attention_factor=1.3), **LONG)
    ),
    "factor": Odd("LongRoPE with a factor of its own", shape(rope_scaling=long(factor=32.0), **LONG)),
    "su": Odd("LongRoPE under its older name", shape(rope_scaling={**long(**LONG), "type": "su"}, **LONG)),
    "rope_parameters": Odd(
        "RoPE as transformers 5 writes it",
        shape(rope_parameters={"rope_type": "default", "rope_theta": 5000.0}, rope_theta="absent"),
    ),
    "partial rotary": Odd("a share of each head is rotated", shape(partial_rotary_factor=0.5)),
    "odd rotary": Odd("rotated pairs that are no multiple of 8", shape(partial_rotary_factor=0.75)),
    "theta twice": Odd(
        "rope_theta said twice, differently",
        config(rope_parameters={"rope_type": "default", "rope_theta": 5000.0}, rope_theta=10000.0),
        "RoPE's rope_theta is 5000.0, config.json's rope_theta is 10000.0",
        True,
    ),
    "unknown rope key": Odd(
        "a RoPE key that nobody knows",
        config(rope_scaling=long(beta_wobble=2.0), **LONG),
        "has a key that is not known here: 'beta_wobble'",
        True,
    ),
    **{
        kind: Odd(
            f"RoPE of type {kind}",
            config(rope_scaling={"rope_type": kind, "factor": 4.0}),
            f"RoPE of type '{kind}' is not in transformers' Phi models",
            True,
        )
        for kind in ("linear", "dynamic", "proportional")
    },
    "llama3": Odd(
        "RoPE of type llama3",
        config(rope_scaling={"rope_type": "llama3", "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0}),
        "RoPE of type 'llama3' is not in transformers' Phi models",
        True,
    ),
    "head_dim": Odd("heads of another size than hidden_size / heads", shape(head_dim=48)),
    "gelu": Odd("hidden_act gelu", config(hidden_act="gelu")),
    "missing fields": Odd(
        "no rms_norm_eps, no max_position_embeddings, no hidden_act",
        config(**dict.fromkeys(("rms_norm_eps", "max_position_embeddings", "hidden_act"), "absent")),
    ),
    "marks": Odd("byte-order marks", marked("config.json", "tokenizer.json", "tokenizer_config.json")),
    "truncation": Odd("a trainer's truncation in tokenizer.json", truncating),
    "no tokenizer_config": Odd("no tokenizer_config.json", lambda f: (f / "tokenizer_config.json").unlink()),
    "no tokenizer.model": Odd("no tokenizer.model", lambda f: (f / "tokenizer.model").unlink()),
    "no generation_config": Odd(
        "no generation_config.json",
        lambda f: (
            config(eos_token_id=[2037, 2044, 2047])(f),
            (f / "generation_config.json").unlink(missing_ok=True),
        )[0],
    ),
    "template list": Odd(
        "chat_template as a list of named ones",
        lambda f: (
            (f / "chat_template.jinja").unlink(missing_ok=True),
            edit(
                f / "tokenizer_config.json",
                chat_template=[
                    {"name": "default", "template": "{{ messages[0]['content'] }}"},
                    {"name": "tool_use", "template": "{{ tools }}"},
                ],
            ),
        )[0],
    ),
}


def write_odd(name: str, folder: Path) -> Path:
    write_checkpoint(folder)
    ODD[name].make(folder)
    found = folder / "config.json"
    if found.is_file() and b'"absent"' in found.read_bytes():
        edit(found)
    return folder


def table() -> str:
    """The page's table."""
    lines = "".join(f"| {odd.what} | {odd.right} |\n" for odd in ODD.values())
    return f"| a folder with | is |\n| --- | --- |\n{lines}"
