"""transformers' own towers: what a decoder is given in a picture's places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CheckpointError
from pipeline.files import read_json
from pipeline.model.checkpoint import SINGLE, parameters, read_headers
from pipeline.pictures import clip
from pipeline.pictures.kinds import KINDS, PHI3V, PHI4MM, Kind
from pipeline.pictures.processing import Picture

if TYPE_CHECKING:
    import torch

FOLDER, SIZES = "vision", "config.json"  # in a canonical model folder: the tower, and what it is


def sees(model: Path) -> bool:
    """Whether a canonical model folder has a tower."""
    return (model / FOLDER / SIZES).is_file()


def kind_of(model: Path) -> Kind:
    """The kind of a canonical model folder that has a tower."""
    return KINDS[read_json(model / FOLDER / SIZES)["kind"]]


def tower_parameters(model: Path) -> int:
    """How many numbers the tower of a canonical model folder has, its projector's among them; 0 where it has none."""
    return parameters(read_headers(model / FOLDER)) if sees(model) else 0


def load_tower(model: Path) -> Any:
    """The torch module, in float32 and evaluation mode: tower, projector and what goes between rows.

    Raises CheckpointError where a tensor is missing.
    """
    import torch
    from safetensors.torch import load_file

    folder, kind = model / FOLDER, kind_of(model)
    said = read_json(folder / SIZES)
    unused: tuple[str, ...] = ()
    if kind is PHI3V:
        tower = clip.empty(said["tower"], said["hidden_size"])
    else:
        tower = _empty(said["tower"], said["hidden_size"])
        last = f"img_processor.encoder.layers.{said['tower']['num_hidden_layers'] - 1}."
        unused = (last, "img_processor.post_layernorm.", "img_processor.head.")
    state = {name: value.float() for name, value in load_file(folder / SINGLE).items()}
    missing, unexpected = tower.load_state_dict(state, strict=False)
    wrong = [name for name in missing if not name.startswith(unused)] + list(unexpected)
    if wrong:
        raise CheckpointError(f"its tower lacks {wrong[0]}, or has it too many", where=str(folder))
    with torch.no_grad():
        for name, value in tower.named_parameters():
            if name.startswith(unused):  # computed by transformers, read by nothing
                value.zero_()
    return tower.float().eval()


def _empty(sizes: dict[str, int], hidden: int) -> Any:
    """Phi-4-multimodal's without values.

    Attention is eager: transformers' sdpa takes a picture without padding for causal text (is_causal of
    Phi4MultimodalVisionAttention).
    """
    import torch
    from transformers import Phi4MultimodalConfig, Phi4MultimodalVisionConfig
    from transformers.models.phi4_multimodal.modeling_phi4_multimodal import Phi4MultimodalImageEmbedding

    vision = Phi4MultimodalVisionConfig(crop_size=PHI4MM.side, **sizes)
    with torch.device("meta"):
        tower = Phi4MultimodalImageEmbedding(Phi4MultimodalConfig(hidden_size=hidden, vision_config=vision))
    tower.img_processor.set_attn_implementation("eager")
    return tower.to_empty(device="cpu")


def features(tower: Any, picture: Picture) -> NDArray[np.float32]:
    """What takes a picture's places in a prompt, float32 [tokens, width]."""
    import torch

    with torch.inference_mode():
        made: torch.Tensor = clip.rows_of(tower, picture) if hasattr(tower, "clip") else _rows_of(tower, picture)
        found: NDArray[np.float32] = made.numpy()
    return found


def _rows_of(tower: Any, picture: Picture) -> torch.Tensor:
    import torch

    made: torch.Tensor = tower(
        torch.full((1, picture.tokens), PHI4MM.place),
        torch.zeros(1, picture.tokens, tower.config.hidden_size),
        image_pixel_values=torch.from_numpy(picture.pixels)[None],
        image_sizes=torch.tensor([[picture.height, picture.width]]),
        image_attention_mask=torch.from_numpy(picture.mask)[None],
    )
    return made[0]
