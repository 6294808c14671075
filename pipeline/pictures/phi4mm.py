"""A Phi-4-multimodal checkpoint taken apart: the decoder it is with one adapter, and the tower that sees.

Microsoft's layout: adapters lie beside the layers that they change (`base_layer`, `lora_A.vision`, …), tower and speech
encoder below `embed_tokens_extend`. The names are those of microsoft/Phi-4-multimodal-instruct, as transformers'
conversion script has them. Exactly one adapter is active at a time: of pictures, the vision adapter. Standard library
only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.adapter import Adapter
from pipeline.model.checkpoint import Tensor
from pipeline.pictures.parts import CHANNELS, PATCH, REFETCH, Parts, check_named, positive, shapes_of, tower_of

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
SIDE = 448


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
    tower = tower_of(seen, config, TOWER, IMAGE, SIGLIP_HEADS, where)
    hidden = config.get("hidden_size")
    needed = dict(_needed(tower, hidden if isinstance(hidden, int) else 0))
    unused = (f"{TOWER}encoder.layers.{tower['num_hidden_layers'] - 1}.", f"{TOWER}post_layernorm.", f"{TOWER}head.")
    check_named(seen, needed, unused, IMAGE, where)
    return Parts(text, {_native(name): seen[name] for name in needed}, tower, adapter)


def _adapter(factors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path, where: str) -> Adapter:
    """The vision adapter, as PEFT would have saved it."""
    if not factors:
        raise CheckpointError("it lacks its vision adapter: no tensor …lora_A.vision.weight", where=where, hint=REFETCH)
    said = config.get("vision_lora")
    if not isinstance(said, dict) or not all(positive(said.get(key)) for key in ("r", "lora_alpha")):
        raise CheckpointError("config.json's vision_lora has no positive r and lora_alpha", where=where)
    settings = {"peft_type": "LORA", "r": said["r"], "lora_alpha": said["lora_alpha"], "target_modules": [*TARGETS]}
    return Adapter(folder, settings, factors)


def _needed(tower: Mapping[str, int], hidden: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of what pictures go through: of the tower all layers but the last."""
    d = tower["hidden_size"]
    yield f"{TOWER}embeddings.patch_embedding.weight", (d, CHANNELS, PATCH, PATCH)
    yield f"{TOWER}embeddings.patch_embedding.bias", (d,)
    yield f"{TOWER}embeddings.position_embedding.weight", ((SIDE // PATCH) ** 2, d)
    yield from shapes_of(tower, TOWER, hidden, d)


def _native(name: str) -> str:
    for old, new in NAMES.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
