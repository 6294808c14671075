"""Phi-4-multimodal's speech encoder in Microsoft's layout: its sizes, its tensors' shapes, transformers' names of them.

A convolution in front reduces the frames eight times; conformer blocks with a T5 bias; a projector of two layers. The
one that the checkpoint has for sounds beside pictures is not taken. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint import Tensor
from pipeline.pictures.parts import REFETCH, check_computed, check_named, layers_of
from pipeline.types import JSON

MELS, REDUCTION = 80, 8  # bins of a frame; frames that are one token
BLOCKS, FRONT, FIRST = "encoder.encoders.", "encoder.embed.", "encoder.encoders.0."
BIAS = "encoder.relative_attention_bias_layer.bias_values.weight"
NAMES = (  # Microsoft's → transformers'
    (r"(feed_forward_(?:in|out))\.net\.0\.linear", r"\1.gate_up_proj"),
    (r"(feed_forward_(?:in|out))\.net\.2", r"\1.down_proj"),
    (r"self_attn\.linear_(q|k|v)\b", r"self_attn.\1_proj"),
    (r"self_attn\.linear_out", "self_attn.o_proj"),
    (r"audio_projection\.speech\.0", "up_proj_for_speech"),
    (r"audio_projection\.speech\.2", "down_proj_for_speech"),
)
ENCODES = {  # of config.json's audio_processor.config: what is computed here
    **dict.fromkeys(("activation", "conv_activation", "conv_glu_type"), "swish"),
    **dict.fromkeys(("bias_in_glu", "causal", "cnn_layer_norm"), True),
    "batch_norm": False,
    "chunk_size": -1,
    "depthwise_multiplier": 1,
    "ext_pw_kernel_size": 1,
    "input_layer": "nemo_conv",
    "input_size": MELS,
    "time_reduction": REDUCTION,
}
BIASES = {"type": "t5", "t5_bias_symmetric": False}
EMBEDS = {  # likewise of embd_layer.audio_embd_layer
    "compression_rate": REDUCTION,
    "downsample_rate": 1,
    "projection_cls": "mlp",
    "use_conv_downsample": False,
    "use_qformer": False,
}


def parted(
    held: Mapping[str, Tensor], config: Mapping[str, Any], hidden: int, below: str, where: str
) -> tuple[JSON, dict[str, Tensor]]:
    """What transformers' config of it takes, and its tensors by transformers' names; sizes are those of the tensors.

    Raises CheckpointError for what is missing, unknown, of another shape or not computed.
    """
    said = _of(config.get("audio_processor"), "config")
    named = "audio_processor.config"
    check_computed(said, ENCODES, named, where)
    check_computed(_of(said, "relative_attention_bias_args"), BIASES, f"{named}.relative_attention_bias_args", where)
    check_computed(_of(config.get("embd_layer"), "audio_embd_layer"), EMBEDS, "embd_layer.audio_embd_layer", where)
    sizes = _sizes(held, below, where)
    needed = dict(_needed(sizes, hidden))
    check_named(held, needed, ("audio_projection.vision.",), below, where)
    return sizes, {_native(name): held[name] for name in needed}


def _of(part: Any, name: str) -> Any:
    return part.get(name) if isinstance(part, dict) else None


def _sizes(held: Mapping[str, Tensor], below: str, where: str) -> JSON:
    """Width, inner width, blocks, heads and what else the tensors say. Raises CheckpointError where one is missing."""
    blocks = layers_of(held, BLOCKS)
    names = (BIAS, f"{FRONT}conv.0.weight", *(f"{FIRST}{n}" for n in ("feed_forward_in.net.2.weight", "conv.glu.b1")))
    depthwise = f"{FIRST}conv.dw_sep_conv_1d.dw_conv.weight"
    missing = next((name for name in (*names, depthwise) if name not in held), None)
    if missing or not blocks:
        first = missing or f"{BLOCKS}…"
        raise CheckpointError(
            f"its speech encoder is not whole: tensor {below}{first} is missing", where=where, hint=REFETCH
        )
    bias, front, inner, _ = (held[name].shape for name in names)
    width = inner[0]
    if not bias[-1] or width % bias[-1]:
        raise CheckpointError(f"its speech encoder of width {width} has {bias[-1]} heads", where=where)
    return {
        "hidden_size": width,
        "intermediate_size": inner[-1],
        "num_blocks": blocks,
        "num_attention_heads": bias[-1],
        "bias_max_distance": bias[0] // 2,
        "nemo_conv_channels": front[0],
        "kernel_size": held[depthwise].shape[-1],
        "ext_pw_out_channel": width,
        "depthwise_separable_out_channel": width,
    }


def _needed(sizes: Mapping[str, int], hidden: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of what sounds go through."""
    d, inner, channels = sizes["hidden_size"], sizes["intermediate_size"], sizes["nemo_conv_channels"]
    yield from ((f"encoder.encoder_embedding.global_{name}", (MELS,)) for name in ("mean", "invstd"))
    layers = {
        f"{FRONT}conv.0": (channels, 1, 3, 3),
        **{f"{FRONT}conv.{place}": (channels, 1, 3, 3) for place in (2, 5)},
        **{f"{FRONT}conv.{place}": (channels, channels, 1, 1) for place in (3, 6)},
        f"{FRONT}out": (d, channels * MELS // REDUCTION),
        "audio_projection.speech.0": (hidden, d),
        "audio_projection.speech.2": (hidden, hidden),
    }
    block: dict[str, tuple[int, ...]] = {
        **{f"self_attn.linear_{part}": (d, d) for part in ("q", "k", "v", "out")},
        **{f"{name}.layer_norm": (d,) for name in ("feed_forward_in", "feed_forward_out", "conv")},
        **{f"feed_forward_{name}.net.0.linear": (2 * inner, d) for name in ("in", "out")},
        **{f"feed_forward_{name}.net.2": (d, inner) for name in ("in", "out")},
        **dict.fromkeys(("layer_norm_att", "layer_norm"), (d,)),
        "conv.glu.ext_pw_conv_1d": (2 * d, d, 1),
        "conv.dw_sep_conv_1d.dw_conv": (d, 1, sizes["kernel_size"]),
        "conv.dw_sep_conv_1d.pw_conv": (d, d, 1),
        "conv.ext_pw_conv_1d": (d, d, 1),
    }
    for number in range(sizes["num_blocks"]):
        layers |= {f"{BLOCKS}{number}.{name}": shape for name, shape in block.items()}
        yield from ((f"{BLOCKS}{number}.conv.glu.{name}", (1, d, 1)) for name in ("b1", "b2"))
    for name, shape in layers.items():
        yield from ((f"{name}.weight", shape), (f"{name}.bias", shape[:1]))
    yield BIAS, (2 * sizes["bias_max_distance"], sizes["num_attention_heads"])


def _native(name: str) -> str:
    for old, new in NAMES:
        name = re.sub(old, new, name)
    return name
