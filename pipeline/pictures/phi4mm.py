"""A Phi-4-multimodal checkpoint taken apart: the decoder it is with one adapter, and the tower that sees.

Microsoft's layout: adapters lie beside the layers that they change (`base_layer`, `lora_A.vision`, …), tower and speech
encoder below `embed_tokens_extend`. The names are those of microsoft/Phi-4-multimodal-instruct, as transformers'
conversion script has them. Exactly one adapter is active at a time: of pictures, the vision adapter. Standard library
only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.adapter import Adapter
from pipeline.model.checkpoint import Tensor
from pipeline.types import JSON

ARCHITECTURE, VISION = "Phi4MMForCausalLM", "vision"
IMAGE_TOKEN, IMAGE_TOKEN_ID = "<|endoftext10|>", 200010  # noqa: S105 - compiled into the runtimes
MEDIA_TOKENS = 2  # a picture's place and a sound's: a small model may have no rows for them
EXTRA = "model.embed_tokens_extend."
IMAGE, SOUND, TOWER = f"{EXTRA}image_embed.", f"{EXTRA}audio_embed.", "img_processor."
FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<letter>[AB])\.(?P<adapter>\w+)\.weight")
TARGETS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
NAMES = {  # Microsoft's → transformers'
    "glb_GN": "global_img_feature_extensor",
    "sub_GN": "sub_img_feature_extensor",
    "img_projection.0.": "img_projection_up.",
    "img_projection.2.": "img_projection_down.",
}
NOT_OF_TEXT = (
    *("auto_map", "audio_processor", "embd_layer", "img_processor", "speech_lora", "vision_lora", "vision_tower"),
    *("interpolate_factor", "full_attn_mod"),
)
SIGLIP_HEADS = 16  # of SigLIP-400M, whose sizes are in Microsoft's code; a `vision_tower` in config.json says others
SIDE, PATCH, CHANNELS = 448, 14, 3
REFETCH = "copy or fetch the checkpoint again"


@dataclass(frozen=True)
class Parts:
    """Tensors of the decoder by their plain names, its adapter, those of the tower by transformers' names, its sizes.

    tower: what Phi4MultimodalVisionConfig takes.
    """

    text: Mapping[str, Tensor]
    adapter: Adapter
    sight: Mapping[str, Tensor]
    tower: JSON


def text_config(config: Mapping[str, Any]) -> JSON:
    """config.json of the decoder alone: a Phi-3."""
    said = {name: value for name, value in config.items() if name not in NOT_OF_TEXT}
    return {**said, "architectures": ["Phi3ForCausalLM"], "model_type": "phi3"}


def parted(tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path) -> Parts:
    """All of a checkpoint with pictures. Raises CheckpointError for what is missing, unknown or of another shape."""
    where, text, factors = f"model folder {folder}", {}, {}
    seen: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        factor = FACTOR.fullmatch(name)
        if name.startswith(IMAGE):
            seen[name.removeprefix(IMAGE)] = tensor
        elif name.startswith(SOUND) or (factor and factor["adapter"] == "speech"):
            continue  # known, and not of pictures
        elif factor and factor["adapter"] == VISION:
            factors[f"base_model.model.{factor['module']}.lora_{factor['letter']}.weight"] = tensor
        elif factor or name.startswith(EXTRA):
            raise CheckpointError(f"it holds a tensor that is not known: {name}", where=where)
        else:
            text[name.replace(".base_layer.", ".")] = tensor
    adapter = _adapter(factors, config, folder, where)
    if not seen:
        raise CheckpointError(f"it lacks its tower: no tensor {IMAGE}…", where=where, hint=REFETCH)
    tower = _tower(seen, config, where)
    hidden = config.get("hidden_size")
    needed = dict(_needed(tower, hidden if isinstance(hidden, int) else 0))
    _check(seen, needed, tower["num_hidden_layers"], where)
    return Parts(text, adapter, {_native(name): seen[name] for name in needed}, tower)


def _adapter(factors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path, where: str) -> Adapter:
    """The vision adapter, as PEFT would have saved it."""
    if not factors:
        raise CheckpointError("it lacks its vision adapter: no tensor …lora_A.vision.weight", where=where, hint=REFETCH)
    said = config.get("vision_lora")
    if not isinstance(said, dict) or not all(_positive(said.get(key)) for key in ("r", "lora_alpha")):
        raise CheckpointError("config.json's vision_lora has no positive r and lora_alpha", where=where)
    settings = {"peft_type": "LORA", "r": said["r"], "lora_alpha": said["lora_alpha"], "target_modules": [*TARGETS]}
    return Adapter(folder, settings, factors)


def _tower(seen: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> JSON:
    """Sizes: of its tensors, but for the number of heads, which config.json says or SigLIP's is."""
    layers = {int(found[1]) for name in seen if (found := re.match(rf"{TOWER}encoder\.layers\.(\d+)\.", name))}
    table, inner = (
        seen.get(f"{TOWER}{name}.weight") for name in ("embeddings.position_embedding", "encoder.layers.0.mlp.fc1")
    )
    if table is None or inner is None or layers != set(range(len(layers))) or len(layers) < 2:
        raise CheckpointError(f"its tower is not whole: tensors {IMAGE}{TOWER}… are missing", where=where, hint=REFETCH)
    said = config.get("vision_tower")
    heads = (said if isinstance(said, dict) else {}).get("num_attention_heads", SIGLIP_HEADS)
    width = table.shape[-1]
    if not _positive(heads) or width % heads:
        raise CheckpointError(f"its tower of width {width} has {heads!r:.20} heads", where=where)
    return {
        "hidden_size": width,
        "intermediate_size": inner.shape[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": heads,
    }


def _needed(tower: Mapping[str, int], hidden: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of what pictures go through: of the tower all layers but the last."""
    d, inner = tower["hidden_size"], tower["intermediate_size"]
    yield f"{TOWER}embeddings.patch_embedding.weight", (d, CHANNELS, PATCH, PATCH)
    yield f"{TOWER}embeddings.patch_embedding.bias", (d,)
    yield f"{TOWER}embeddings.position_embedding.weight", ((SIDE // PATCH) ** 2, d)
    shapes = {
        **{f"layer_norm{n}": ((d,), (d,)) for n in (1, 2)},
        **{f"self_attn.{part}_proj": ((d, d), (d,)) for part in ("q", "k", "v", "out")},
        "mlp.fc1": ((inner, d), (inner,)),
        "mlp.fc2": ((d, inner), (d,)),
    }
    for layer in range(tower["num_hidden_layers"] - 1):
        for name, (weight, bias) in shapes.items():
            at = f"{TOWER}encoder.layers.{layer}.{name}"
            yield from ((f"{at}.weight", weight), (f"{at}.bias", bias))
    yield from (("glb_GN", (1, 1, d)), ("sub_GN", (1, 1, 1, d)))
    yield from (("img_projection.0.weight", (hidden, d)), ("img_projection.0.bias", (hidden,)))
    yield from (("img_projection.2.weight", (hidden, hidden)), ("img_projection.2.bias", (hidden,)))


def _check(seen: Mapping[str, Tensor], needed: Mapping[str, tuple[int, ...]], layers: int, where: str) -> None:
    unused = (f"{TOWER}encoder.layers.{layers - 1}.", f"{TOWER}post_layernorm.", f"{TOWER}head.")
    absent = [name for name in needed if name not in seen]
    extra = sorted(
        name for name in seen if name not in needed and not name.startswith(unused) and "position_ids" not in name
    )
    if absent:
        raise CheckpointError(
            f"{len(absent)} tensors of its tower are missing, the first is {IMAGE}{absent[0]}",
            where=where,
            hint=REFETCH,
        )
    if extra:
        raise CheckpointError(f"it holds a tensor that is not known: {IMAGE}{extra[0]}", where=where)
    for name, shape in needed.items():
        if seen[name].shape != shape:
            raise CheckpointError(
                f"{IMAGE}{name} has shape {list(seen[name].shape)}, its tower's sizes give {list(shape)}", where=where
            )


def _native(name: str) -> str:
    for old, new in NAMES.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
