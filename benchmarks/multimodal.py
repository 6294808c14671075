"""Full-size checkpoints of models that see or hear, in Microsoft's own layouts: config.json's fields and all tensors.

Phi-3.5-vision: CLIP-L/14 for 336 pixels below `vision_embed_tokens`. Phi-4-multimodal: SigLIP-400M and the conformer
below `embed_tokens_extend`, both adapters beside the layers. `make_checkpoint.py` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

PHI3V, PHI4MM = "phi3_v", "phi4mm"
Named = Iterator[tuple[str, tuple[int, ...]]]

CLIP = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27}
PLACES = {PHI3V: (336 // 14) ** 2 + 1, PHI4MM: (448 // 14) ** 2}  # rows of the table of patches' positions
LORA = re.compile(r"(?P<stem>model\.layers\..+\.(?:qkv_proj|o_proj|gate_up_proj|down_proj)\.)weight")
HD = {"hd_transform_order": "sub_glb", "use_hd_transform": True, "with_learnable_separator": True}
SAID: dict[str, dict[str, Any]] = {  # of config.json, beside the decoder's sizes
    PHI3V: {
        "architectures": ["Phi3VForCausalLM"],
        "model_type": PHI3V,
        "embd_layer": {"embedding_cls": "image", "projection_cls": "mlp", **HD},
        "img_processor": {
            "image_dim_out": 1024,
            "model_name": "openai/clip-vit-large-patch14-336",
            "name": "clip_vision_model",
            "num_img_tokens": 144,
        },
    },
    PHI4MM: {
        "architectures": ["Phi4MMForCausalLM"],
        "model_type": PHI4MM,
        "vision_lora": {"r": 256, "lora_alpha": 512, "dp": 0.0},
        "speech_lora": {"r": 320, "lora_alpha": 640, "dp": 0.01},
        "embd_layer": {
            "embedding_cls": "image_audio",
            "image_embd_layer": {
                "crop_size": 448,
                "image_token_compression_cls": "avg_pool_2d",
                "projection_cls": "mlp",
                **HD,
            },
            "audio_embd_layer": {"compression_rate": 8, "downsample_rate": 1, "projection_cls": "mlp"},
        },
        "img_processor": None,
        "audio_processor": {
            "name": "cascades",
            "config": {
                "attention_dim": 1024,
                "attention_heads": 16,
                "num_blocks": 24,
                "linear_units": 1536,
                "input_size": 80,
                "time_reduction": 8,
                "chunk_size": -1,
                "left_chunk": 18,
                "kernel_size": 3,
                "ext_pw_out_channel": 1024,
                "depthwise_seperable_out_channel": 1024,
                "nemo_conv_settings": {"conv_channels": 1024},
                "relative_attention_bias_args": {"t5_bias_max_distance": 500, "type": "t5"},
            },
        },
    },
}


def laid_out(text: Named, config: dict[str, Any]) -> Named:
    """(name, shape) of every weight, those of the decoder among them: `text`, by Phi-3's names."""
    if config["model_type"] == PHI3V:
        yield from text
        yield from _phi3v(config["hidden_size"])
    elif config["model_type"] == PHI4MM:
        ranks = {name: config[f"{name}_lora"]["r"] for name in ("vision", "speech")}
        for name, shape in text:
            yield from _adapted(name, shape, ranks)
        yield from _seeing(config["hidden_size"])
        yield from _hearing(config["hidden_size"], config["audio_processor"]["config"])
    else:
        yield from text


def _adapted(name: str, shape: tuple[int, ...], ranks: dict[str, int]) -> Named:
    found = LORA.fullmatch(name)
    yield (f"{found['stem']}base_layer.weight" if found else name), shape
    for adapter, rank in ranks.items() if found else ():
        yield f"{name.removesuffix('weight')}lora_A.{adapter}.weight", (rank, shape[1])
        yield f"{name.removesuffix('weight')}lora_B.{adapter}.weight", (shape[0], rank)


def _phi3v(hidden: int) -> Named:
    above = "model.vision_embed_tokens."
    below, d = f"{above}img_processor.vision_model.", CLIP["hidden_size"]
    yield f"{below}embeddings.class_embedding", (d,)
    yield f"{below}embeddings.patch_embedding.weight", (d, 3, 14, 14)
    yield f"{below}embeddings.position_embedding.weight", (PLACES[PHI3V], d)
    yield from _norms(below, ("pre_layrnorm", "post_layernorm"), d)
    yield from _blocks(below, CLIP)
    yield from _projector(above, 4 * d, hidden)


def _seeing(hidden: int) -> Named:
    above, d, inner = "model.embed_tokens_extend.image_embed.", SIGLIP["hidden_size"], SIGLIP["intermediate_size"]
    below = f"{above}img_processor."
    yield from _linear(f"{below}embeddings.patch_embedding", (d, 3, 14, 14))
    yield f"{below}embeddings.position_embedding.weight", (PLACES[PHI4MM], d)
    yield from _blocks(below, SIGLIP)
    yield from _norms(below, ("post_layernorm", "head.layernorm"), d)
    yield from ((f"{below}head.probe", (1, 1, d)), (f"{below}head.attention.in_proj_weight", (3 * d, d)))
    yield f"{below}head.attention.in_proj_bias", (3 * d,)
    for name, shape in (("attention.out_proj", (d, d)), ("mlp.fc1", (inner, d)), ("mlp.fc2", (d, inner))):
        yield from _linear(f"{below}head.{name}", shape)
    yield from _projector(above, d, hidden)


def _hearing(hidden: int, sizes: dict[str, Any]) -> Named:
    above = "model.embed_tokens_extend.audio_embed."
    d, inner, channels = sizes["attention_dim"], sizes["linear_units"], sizes["nemo_conv_settings"]["conv_channels"]
    for name in ("global_mean", "global_invstd"):
        yield f"{above}encoder.encoder_embedding.{name}", (sizes["input_size"],)
    front = f"{above}encoder.embed."
    for place, shape in ((0, (1, 3, 3)), (2, (1, 3, 3)), (3, (channels, 1, 1)), (5, (1, 3, 3)), (6, (channels, 1, 1))):
        yield from _linear(f"{front}conv.{place}", (channels, *shape))
    yield from _linear(f"{front}out", (d, channels * sizes["input_size"] // sizes["time_reduction"]))
    for number in range(sizes["num_blocks"]):
        at = f"{above}encoder.encoders.{number}."
        for part in ("q", "k", "v", "out"):
            yield from _linear(f"{at}self_attn.linear_{part}", (d, d))
        for part in ("in", "out"):
            yield from _linear(f"{at}feed_forward_{part}.net.0.linear", (2 * inner, d))
            yield from _linear(f"{at}feed_forward_{part}.net.2", (d, inner))
            yield from _norms(at, (f"feed_forward_{part}.layer_norm",), d)
        yield from _norms(at, ("conv.layer_norm", "layer_norm_att", "layer_norm"), d)
        yield from ((f"{at}conv.glu.{name}", (1, d, 1)) for name in ("b1", "b2"))
        yield from _linear(f"{at}conv.glu.ext_pw_conv_1d", (2 * d, d, 1))
        yield from _linear(f"{at}conv.dw_sep_conv_1d.dw_conv", (d, 1, sizes["kernel_size"]))
        yield from _linear(f"{at}conv.dw_sep_conv_1d.pw_conv", (d, d, 1))
        yield from _linear(f"{at}conv.ext_pw_conv_1d", (d, d, 1))
    distance = sizes["relative_attention_bias_args"]["t5_bias_max_distance"]
    bias = "encoder.relative_attention_bias_layer.bias_values.weight"
    yield f"{above}{bias}", (2 * distance, sizes["attention_heads"])
    for beside in ("speech", "vision"):
        yield from _linear(f"{above}audio_projection.{beside}.0", (hidden, d))
        yield from _linear(f"{above}audio_projection.{beside}.2", (hidden, hidden))


def _blocks(below: str, sizes: dict[str, int]) -> Named:
    """A vision transformer's layers."""
    d, inner = sizes["hidden_size"], sizes["intermediate_size"]
    for layer in range(sizes["num_hidden_layers"]):
        at = f"{below}encoder.layers.{layer}."
        yield from _norms(at, ("layer_norm1", "layer_norm2"), d)
        for part in ("q", "k", "v", "out"):
            yield from _linear(f"{at}self_attn.{part}_proj", (d, d))
        yield from (*_linear(f"{at}mlp.fc1", (inner, d)), *_linear(f"{at}mlp.fc2", (d, inner)))


def _projector(above: str, rows: int, hidden: int) -> Named:
    yield from ((f"{above}glb_GN", (1, 1, rows)), (f"{above}sub_GN", (1, 1, 1, rows)))
    yield from _linear(f"{above}img_projection.0", (hidden, rows))
    yield from _linear(f"{above}img_projection.2", (hidden, hidden))


def _norms(at: str, names: tuple[str, ...], width: int) -> Named:
    for name in names:
        yield from ((f"{at}{name}.weight", (width,)), (f"{at}{name}.bias", (width,)))


def _linear(name: str, shape: tuple[int, ...]) -> Named:
    yield from ((f"{name}.weight", shape), (f"{name}.bias", shape[:1]))
