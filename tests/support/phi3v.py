"""A small Phi-3.5-vision in Microsoft's layout: phi-tiny reads and answers, a random CLIP of two layers sees."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.support.tiny import ROOT

TEXT = ROOT / "models" / "phi-tiny"
SEEN = "model.vision_embed_tokens."
CLIP = f"{SEEN}img_processor.vision_model."
REAL = (  # of microsoft/Phi-3.5-vision-instruct: all names, layers counted once
    *(
        f"{CLIP}embeddings.{name}"
        for name in ("class_embedding", "patch_embedding.weight", "position_embedding.weight")
    ),
    *(f"{CLIP}{norm}.{part}" for norm in ("pre_layrnorm", "post_layernorm") for part in ("weight", "bias")),
    *(
        f"{CLIP}encoder.layers.0.{name}.{part}"
        for name in (
            *(f"self_attn.{n}_proj" for n in ("q", "k", "v", "out")),
            "mlp.fc1",
            "mlp.fc2",
            *("layer_norm1", "layer_norm2"),
        )
        for part in ("weight", "bias")
    ),
    *(f"{SEEN}{name}" for name in ("glb_GN", "sub_GN")),
    *(f"{SEEN}img_projection.{place}.{part}" for place in (0, 2) for part in ("weight", "bias")),
)


def written(
    folder: Path, tensors: Callable[[dict[str, Any]], None] = lambda held: None, width: int = 32, **config: Any
) -> Path:
    """The checkpoint, whose tensors `tensors` changes in place; `config` are more fields of config.json."""
    folder.mkdir(parents=True)
    held, said = load_file(TEXT / "model.safetensors"), json.loads((TEXT / "config.json").read_text("utf-8"))
    held |= sight(width, said["hidden_size"], float(held["model.embed_tokens.weight"].float().std()))
    tensors(held)
    save_file(
        {name: value.to(torch.bfloat16).contiguous() for name, value in held.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TEXT / name, folder / name)
    said |= {
        "architectures": ["Phi3VForCausalLM"],
        "model_type": "phi3_v",
        "auto_map": {"AutoModelForCausalLM": "modeling_phi3_v.Phi3VForCausalLM"},
        "eos_token_id": 2,
        "max_position_embeddings": 8192,
        "original_max_position_embeddings": 8192,
        "embd_layer": {
            "embedding_cls": "image",
            "hd_transform_order": "sub_glb",
            "projection_cls": "mlp",
            "use_hd_transform": True,
            "with_learnable_separator": True,
        },
        "img_processor": {
            "image_dim_out": width,
            "model_name": "openai/clip-vit-large-patch14-336",
            "name": "clip_vision_model",
            "num_img_tokens": 144,
        },
        "vision_tower": {"num_attention_heads": max(1, width // 64)},
        **config,
    }
    (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")
    (folder / "generation_config.json").write_text(
        json.dumps({"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2037}), "utf-8"
    )
    (folder / "preprocessor_config.json").write_text(json.dumps({"num_crops": 4, "num_img_tokens": 144}), "utf-8")
    return folder


def sight(width: int, hidden: int, size: float, inner: int = 64) -> dict[str, Any]:
    """Random tensors of tower and projector, whose rows are about of the `size` of the decoder's embedding."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * scale

    def linear(name: str, outputs: int, inputs: int, gain: float = 1.0) -> dict[str, Any]:
        return {
            f"{name}.weight": random(outputs, inputs, scale=gain / inputs**0.5),
            f"{name}.bias": random(outputs, scale=0.01),
        }

    def norm(name: str) -> dict[str, Any]:
        return {f"{name}.weight": 1 + random(width, scale=0.1), f"{name}.bias": random(width, scale=0.1)}

    held = {
        f"{CLIP}embeddings.class_embedding": random(width),
        f"{CLIP}embeddings.patch_embedding.weight": random(width, 3, 14, 14, scale=4 / 588**0.5),
        f"{CLIP}embeddings.position_embedding.weight": random(577, width, scale=0.3),
        **norm(f"{CLIP}pre_layrnorm"),
        **norm(f"{CLIP}post_layernorm"),
        f"{SEEN}glb_GN": random(1, 1, 4 * width),
        f"{SEEN}sub_GN": random(1, 1, 1, 4 * width),
        **linear(f"{SEEN}img_projection.0", hidden, 4 * width),
        **linear(f"{SEEN}img_projection.2", hidden, hidden, 1.7 * size),
    }
    for layer in range(2):
        at = f"{CLIP}encoder.layers.{layer}."
        for part in ("q", "k", "v", "out"):
            held |= linear(f"{at}self_attn.{part}_proj", width, width)
        held |= {**linear(f"{at}mlp.fc1", inner, width), **linear(f"{at}mlp.fc2", width, inner)}
        held |= {**norm(f"{at}layer_norm1"), **norm(f"{at}layer_norm2")}
    return held
