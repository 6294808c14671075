"""A Phi-4-multimodal checkpoint taken apart: the decoder it is with one adapter, and the tower that sees or hears.

Microsoft's layout: adapters lie beside the layers that they change (`base_layer`, `lora_A.vision`, …), tower and speech
encoder below `embed_tokens_extend`. The names are those of microsoft/Phi-4-multimodal-instruct, as transformers'
conversion script has them. Exactly one adapter is active at a time: of pictures the vision adapter, of sounds alone
the speech adapter. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.adapter import Adapter
from pipeline.model.checkpoint import Tensor
from pipeline.pictures import conformer_layout
from pipeline.pictures.parts import CHANNELS, PATCH, REFETCH, Parts, check_named, positive, shapes_of, tower_of
from pipeline.pictures.rows import SPEECH, VISION

ARCHITECTURE = "Phi4MMForCausalLM"
PLACES = {VISION: (200010, "<|endoftext10|>"), SPEECH: (200011, "<|endoftext11|>")}  # compiled into the runtimes
MEDIA_TOKENS = len(PLACES)  # a small model may have no rows for them
EXTRA = "model.embed_tokens_extend."
BELOW = {VISION: f"{EXTRA}image_embed.", SPEECH: f"{EXTRA}audio_embed."}
TOWER = "img_processor."
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


def parted(tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path, modality: str) -> Parts:
    """A checkpoint with what a modality needs. Raises CheckpointError for what is missing, unknown or of another shape.

    What the other modality has is known, and left out.
    """
    where, below, text, factors = f"model folder {folder}", BELOW[modality], {}, {}
    held: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        factor = FACTOR.fullmatch(name)
        if name.startswith(below):
            held[name.removeprefix(below)] = tensor
        elif factor and factor["adapter"] == modality:
            factors[f"base_model.model.{factor['module']}.lora_{factor['letter']}.weight"] = tensor
        elif name.startswith(tuple(BELOW.values())) or (factor and factor["adapter"] in BELOW):
            continue
        elif factor or name.startswith(EXTRA):
            raise CheckpointError(f"it holds a tensor that is not known: {name}", where=where)
        else:
            text[name.replace(".base_layer.", ".")] = tensor
    adapter = _adapter(factors, config, modality, folder, where)
    if not held:
        what = "tower" if modality == VISION else "speech encoder"
        raise CheckpointError(f"it lacks its {what}: no tensor {below}…", where=where, hint=REFETCH)
    hidden = config.get("hidden_size")
    width = hidden if isinstance(hidden, int) else 0
    if modality == SPEECH:
        sizes, own = conformer_layout.parted(held, config, width, below, where)
        return Parts(text, own, sizes, adapter)
    tower = tower_of(held, config, TOWER, below, SIGLIP_HEADS, where)
    needed = dict(_needed(tower, width))
    unused = (f"{TOWER}encoder.layers.{tower['num_hidden_layers'] - 1}.", f"{TOWER}post_layernorm.", f"{TOWER}head.")
    check_named(held, needed, unused, below, where)
    return Parts(text, {_native(name): held[name] for name in needed}, tower, adapter)


def _adapter(
    factors: Mapping[str, Tensor], config: Mapping[str, Any], modality: str, folder: Path, where: str
) -> Adapter:
    """The modality's adapter, as PEFT would have saved it."""
    if not factors:
        missing = f"no tensor …lora_A.{modality}.weight"
        raise CheckpointError(f"it lacks its {modality} adapter: {missing}", where=where, hint=REFETCH)
    said = config.get(f"{modality}_lora")
    if not isinstance(said, dict) or not all(positive(said.get(key)) for key in ("r", "lora_alpha")):
        raise CheckpointError(f"config.json's {modality}_lora has no positive r and lora_alpha", where=where)
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
