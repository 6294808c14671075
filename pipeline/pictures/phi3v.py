"""A Phi-3.5-vision checkpoint taken apart: the decoder, and the tower that sees.

Microsoft's layout (`phi3_v`): CLIP, the projector and what goes between rows lie below `vision_embed_tokens`; of CLIP's
layers the last is not computed (hidden_states[-2]). The names are those that the loaders of transformers (#41977),
vLLM, MLC and MLX read. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint import EMBEDDING, Tensor
from pipeline.pictures.parts import CHANNELS, PATCH, REFETCH, Parts, check_computed, check_named, shapes_of, tower_of

ARCHITECTURE = "Phi3VForCausalLM"
SIDE = 336
EXTRA = "model.vision_embed_tokens."
CLIP, SHARED = "img_processor.vision_model.", f"{EXTRA}wte.weight"  # the latter is the decoder's embedding again
CLIP_HEADS = 16  # of CLIP-L, whose sizes are in Microsoft's code; a `vision_tower` in config.json says others
NOT_OF_TEXT = ("auto_map", "embd_layer", "img_processor", "vision_tower")
EMBEDS = {  # of config.json's embd_layer: what is computed here
    "embedding_cls": "image",
    "hd_transform_order": "sub_glb",
    "projection_cls": "mlp",
    "use_hd_transform": True,
    "with_learnable_separator": True,
}
PROCESSES = {"name": "clip_vision_model", "layer_idx": -2, "type_feature": "patch"}  # likewise of img_processor


def parted(tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path) -> Parts:
    """All of a checkpoint. Raises CheckpointError for what is missing, unknown, of another shape or not computed."""
    where = f"model folder {folder}"
    text: dict[str, Tensor] = {}
    seen: dict[str, Tensor] = {}
    for named, computed in (("embd_layer", EMBEDS), ("img_processor", PROCESSES)):
        check_computed(config.get(named), computed, named, where)
    for name, tensor in tensors.items():
        if name == SHARED:
            text.setdefault(EMBEDDING, tensor)
        elif name.startswith(EXTRA):
            seen[name.removeprefix(EXTRA)] = tensor
        else:
            text[name] = tensor
    if not seen:
        raise CheckpointError(f"it lacks its tower: no tensor {EXTRA}…", where=where, hint=REFETCH)
    tower = tower_of(seen, config, CLIP, EXTRA, CLIP_HEADS, where)
    hidden = config.get("hidden_size")
    needed = dict(_needed(tower, hidden if isinstance(hidden, int) else 0))
    unused = (f"{CLIP}encoder.layers.{tower['num_hidden_layers'] - 1}.", f"{CLIP}post_layernorm.")
    check_named(seen, needed, unused, EXTRA, where)
    return Parts(text, {_native(name): seen[name] for name in needed}, tower)


def _needed(tower: Mapping[str, int], hidden: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of what pictures go through: of the tower all layers but the last."""
    d = tower["hidden_size"]
    yield f"{CLIP}embeddings.class_embedding", (d,)
    yield f"{CLIP}embeddings.patch_embedding.weight", (d, CHANNELS, PATCH, PATCH)
    yield f"{CLIP}embeddings.position_embedding.weight", ((SIDE // PATCH) ** 2 + 1, d)
    yield from ((f"{CLIP}pre_layrnorm.weight", (d,)), (f"{CLIP}pre_layrnorm.bias", (d,)))
    yield from shapes_of(tower, CLIP, hidden, 4 * d)


def _native(name: str) -> str:
    """transformers' CLIPVisionModel has no `vision_model` in its names."""
    return re.sub(f"^{re.escape(CLIP)}", "clip.", name)
