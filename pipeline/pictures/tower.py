"""transformers' own tower: what a decoder is given in a picture's places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CheckpointError
from pipeline.files import read_json
from pipeline.model.checkpoint import SINGLE
from pipeline.pictures.phi4mm import IMAGE_TOKEN_ID, SIDE
from pipeline.pictures.processing import Picture

if TYPE_CHECKING:
    import torch

FOLDER, SIZES = "vision", "config.json"  # in a canonical model folder: the tower, and what it is


def sees(model: Path) -> bool:
    """Whether a canonical model folder has a tower."""
    return (model / FOLDER / SIZES).is_file()


def load_tower(model: Path) -> Any:
    """The torch module, in float32 and evaluation mode: tower, projector and what goes between rows.

    Attention is eager: transformers' sdpa takes a picture without padding for causal text (is_causal of
    Phi4MultimodalVisionAttention). Raises CheckpointError where a tensor is missing.
    """
    import torch
    from safetensors.torch import load_file
    from transformers import Phi4MultimodalConfig, Phi4MultimodalVisionConfig
    from transformers.models.phi4_multimodal.modeling_phi4_multimodal import Phi4MultimodalImageEmbedding

    folder = model / FOLDER
    said = read_json(folder / SIZES)
    vision = Phi4MultimodalVisionConfig(crop_size=SIDE, **said["tower"])
    config = Phi4MultimodalConfig(hidden_size=said["hidden_size"], vision_config=vision)
    with torch.device("meta"):
        tower = Phi4MultimodalImageEmbedding(config)
    tower.img_processor.set_attn_implementation("eager")
    tower.to_empty(device="cpu")
    state = {name: value.float() for name, value in load_file(folder / SINGLE).items()}
    missing, unexpected = tower.load_state_dict(state, strict=False)
    last = f"img_processor.encoder.layers.{said['tower']['num_hidden_layers'] - 1}."
    unused = (last, "img_processor.post_layernorm.", "img_processor.head.")
    wrong = [name for name in missing if not name.startswith(unused)] + list(unexpected)
    if wrong:
        raise CheckpointError(f"its tower lacks {wrong[0]}, or has it too many", where=str(folder))
    with torch.no_grad():
        for name, value in tower.named_parameters():
            if name.startswith(unused):  # computed by transformers, read by nothing
                value.zero_()
    return tower.float().eval()


def features(tower: Any, picture: Picture) -> NDArray[np.float32]:
    """What takes a picture's places in a prompt, float32 [tokens, width]."""
    import torch

    width = tower.config.hidden_size
    ids = torch.full((1, picture.tokens), IMAGE_TOKEN_ID)
    with torch.inference_mode():
        made: torch.Tensor = tower(
            ids,
            torch.zeros(1, picture.tokens, width),
            image_pixel_values=torch.from_numpy(picture.pixels)[None],
            image_sizes=torch.tensor([[picture.height, picture.width]]),
            image_attention_mask=torch.from_numpy(picture.mask)[None],
        )
        found: NDArray[np.float32] = made[0].numpy()
    return found
