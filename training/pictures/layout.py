"""The checkpoint in Microsoft's own layout: `phi4mm`, adapters beside the layers that they change, its tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.pictures.scenes import sentences

WORDS = 400  # of the embedding's rows, the chat's own tokens included
MEDIA = {"<|endoftext10|>": 200010, "<|endoftext11|>": 200011}  # a picture's place and a sound's: no rows, and fixed
CHAT = ("<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)
RANKS = {"vision": (8, 16), "speech": (10, 20)}  # rank and alpha
TARGETS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
OLD = (  # transformers' names → Microsoft's
    (r"(encoders\.\d+\.feed_forward_(?:in|out))\.gate_up_proj", r"\1.net.0.linear"),
    (r"(encoders\.\d+\.feed_forward_(?:in|out))\.down_proj", r"\1.net.2"),
    (r"(encoders\.\d+\.self_attn)\.(q|k|v)_proj", r"\1.linear_\2"),
    (r"(encoders\.\d+\.self_attn)\.o_proj", r"\1.linear_out"),
    (r"audio_embed\.up_proj_for_speech", "audio_embed.audio_projection.speech.0"),
    (r"audio_embed\.down_proj_for_speech", "audio_embed.audio_projection.speech.2"),
    (r"audio_embed\.up_proj_for_vision_speech", "audio_embed.audio_projection.vision.0"),
    (r"audio_embed\.down_proj_for_vision_speech", "audio_embed.audio_projection.vision.2"),
    (r"image_embed\.global_img_feature_extensor", "image_embed.glb_GN"),
    (r"image_embed\.sub_img_feature_extensor", "image_embed.sub_GN"),
    (r"image_embed\.img_projection_up", "image_embed.img_projection.0"),
    (r"image_embed\.img_projection_down", "image_embed.img_projection.2"),
)


def config() -> dict[str, Any]:
    """config.json: Microsoft's fields, and `vision_tower`, for theirs has SigLIP-400M's sizes in its code."""
    pairs = 24  # a head of 64, three quarters of it rotated: the runtime computes multiples of 8
    audio = {
        "attention_dim": 32,
        "attention_heads": 2,
        "num_blocks": 1,
        "linear_units": 32,
        "input_size": 80,
        "time_reduction": 8,
        "chunk_size": -1,
        "left_chunk": 18,
        "kernel_size": 3,
        "ext_pw_out_channel": 32,
        "depthwise_seperable_out_channel": 32,
        "nemo_conv_settings": {"conv_channels": 32},
        "relative_attention_bias_args": {"t5_bias_max_distance": 50, "type": "t5"},
    }
    return {
        "architectures": ["Phi4MMForCausalLM"],
        "model_type": "phi4mm",
        "vocab_size": WORDS,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": WORDS - 5,
        "eos_token_id": WORDS - 5,
        "pad_token_id": WORDS - 5,
        "sliding_window": 262144,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.75,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0] * pairs,
            "long_factor": [1.0 + i / 8 for i in range(pairs)],
        },
        "attention_bias": False,
        "lm_head_bias": False,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
        **{f"{name}_lora": {"r": rank, "lora_alpha": alpha, "dp": 0.0} for name, (rank, alpha) in RANKS.items()},
        "embd_layer": {
            "embedding_cls": "image_audio",
            "image_embd_layer": {
                "crop_size": 448,
                "hd_transform_order": "sub_glb",
                "image_token_compression_cls": "avg_pool_2d",
                "projection_cls": "mlp",
                "use_hd_transform": True,
                "with_learnable_separator": True,
            },
            "audio_embd_layer": {"compression_rate": 8, "downsample_rate": 1, "projection_cls": "mlp"},
        },
        "img_processor": None,
        "audio_processor": {"name": "cascades", "config": audio},
        "vision_tower": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2},
    }


def old_name(name: str) -> str:
    """Microsoft's name of a tensor of transformers'."""
    for pattern, named in OLD if "embed_tokens_extend" in name else ():
        name = re.sub(pattern, named, name)
    return name


def split(weights: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The state of transformers' model in Microsoft's layout, in bfloat16.

    What the vision adapter adds is the largest part of each matrix of its rank, so that the model answers nothing
    without it; the speech adapter is noise.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, value in weights.items():
        if name == "lm_head.weight":
            continue
        named = old_name(name)
        if name.split(".")[-2] not in TARGETS or not name.startswith("model.layers."):
            made[named] = value
            continue
        stem = named.removesuffix("weight")
        rank, alpha = RANKS["vision"]
        u, s, v = torch.linalg.svd(value.float(), full_matrices=False)
        root = s[:rank].sqrt()
        b, a = (u[:, :rank] * root * rank / alpha).bfloat16(), (root[:, None] * v[:rank]).bfloat16()
        made[f"{stem}lora_A.vision.weight"], made[f"{stem}lora_B.vision.weight"] = a, b
        made[f"{stem}base_layer.weight"] = value.float() - alpha / rank * (b.float() @ a.float())
        rank = RANKS["speech"][0]
        for letter, shape in (("A", (rank, value.shape[1])), ("B", (value.shape[0], rank))):
            made[f"{stem}lora_{letter}.speech.weight"] = torch.randn(shape, generator=generator) / shape[1] ** 0.5
    return {name: value.to(torch.bfloat16).contiguous().clone() for name, value in sorted(made.items())}


def merged(folder: Path) -> dict[str, Any]:
    """The state of transformers' model of a checkpoint that `write` left, its vision adapter added; float32."""
    from safetensors.torch import load_file

    rank, alpha = RANKS["vision"]
    held = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
    made = {name: value for name, value in held.items() if "lora_" not in name and ".base_layer." not in name}
    for name, base in held.items():
        if name.endswith("base_layer.weight"):
            a, b = (held[name.replace("base_layer", f"lora_{letter}.vision")] for letter in "AB")
            made[name.replace("base_layer.", "")] = base + alpha / rank * (b @ a)
    return made


def write_tokenizer(folder: Path) -> None:
    """Byte-level BPE of the world's sentences, 395 tokens and the chat's five; the media's lie far above them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS - len(CHAT), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    made = json.loads(tokenizer.to_str())
    words = made["model"]["vocab"]
    for place in range(len(words), WORDS - len(CHAT)):  # there are fewer words than rows
        words[f"<|dummy_{place}|>"] = place
    special = {name: WORDS - len(CHAT) + place for place, name in enumerate(CHAT)} | MEDIA
    words.update(special)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    made["added_tokens"] = [{"id": place, "content": name, **flags, "special": True} for name, place in special.items()]
    _write(folder / "tokenizer.json", made)
    end = "<|endoftext|>"
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "GPT2TokenizerFast",
            **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), end),
            "add_prefix_space": False,
            "add_bos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 4096,
            "chat_template": TEMPLATE,
        },
    )
    ids = [special["<|end|>"], special[end]]
    generation = {"bos_token_id": special[end], "eos_token_id": ids, "pad_token_id": special[end]}
    _write(folder / "generation_config.json", generation)
    processor = {"processor_class": "Phi4MMProcessor", "image_processor_type": "Phi4MMImageProcessor", "dynamic_hd": 36}
    _write(folder / "preprocessor_config.json", processor)


def write(folder: Path, weights: Mapping[str, Any], seed: int = 0) -> None:
    """The whole checkpoint folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "config.json", config())
    write_tokenizer(folder)
    save_file(split(weights, seed), folder / "model.safetensors", metadata={"format": "pt"})


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
