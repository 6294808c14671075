"""transformers' own towers: what a decoder is given in the places of a picture or a sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CheckpointError
from pipeline.files import read_json
from pipeline.model.checkpoint import SINGLE, parameters, read_headers
from pipeline.pictures import clip, conformer
from pipeline.pictures.kinds import KINDS, PHI3V, PHI4MM, PHI4MM_SPEECH, Kind
from pipeline.pictures.media import Seen
from pipeline.pictures.processing import Picture
from pipeline.pictures.rows import MEDIA
from pipeline.pictures.sound import Sound

if TYPE_CHECKING:
    import torch

SIZES = "config.json"  # beside the tower: what it is


def is_multimodal(model: Path) -> bool:
    """Whether a canonical model folder has a tower."""
    return any((model / modality / SIZES).is_file() for modality in MEDIA)


def folder_of(model: Path) -> Path:
    """Where the tower of a canonical model folder lies: in one that is called as the modality."""
    return next(model / modality for modality in MEDIA if (model / modality / SIZES).is_file())


def kind_of(model: Path) -> Kind:
    """The kind of a canonical model folder that has a tower."""
    return KINDS[read_json(folder_of(model) / SIZES)["kind"]]


def tower_parameters(model: Path) -> int:
    """How many numbers the tower of a canonical model folder has, its projector's among them; 0 where it has none."""
    return parameters(read_headers(folder_of(model))) if is_multimodal(model) else 0


def empty_tower(model: Path) -> Any:
    """The torch module without values: tower, projector and what goes between a picture's rows."""
    said = read_json(folder_of(model) / SIZES)
    made = {PHI3V: clip.empty, PHI4MM_SPEECH: conformer.empty, PHI4MM: _empty}[KINDS[said["kind"]]]
    return made(said["tower"], said["hidden_size"])


def weightless_tower(model: Path) -> Any:
    """The same in evaluation mode with a zero in place of all of a parameter's values: of its shape, without memory."""
    import torch

    tower = empty_tower(model)
    for name, value in list(tower.named_parameters()):
        at, _, own = name.rpartition(".")
        zero = torch.zeros(1, dtype=torch.float32).expand(value.shape)
        setattr(tower.get_submodule(at), own, torch.nn.Parameter(zero, requires_grad=False))
    return tower.eval()


def load_tower(model: Path) -> Any:
    """The same with its values, in float32. Raises CheckpointError where a tensor is missing."""
    import torch
    from safetensors.torch import load_file

    folder, tower = folder_of(model), empty_tower(model)
    unused: tuple[str, ...] = ()
    if kind_of(model) is PHI4MM:
        last = f"img_processor.encoder.layers.{len(tower.img_processor.encoder.layers) - 1}."
        unused = (last, "img_processor.post_layernorm.", "img_processor.head.")
    state = {name: value.float() for name, value in load_file(folder / SINGLE).items()}
    missing, unexpected = tower.load_state_dict(state, strict=False, assign=True)
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


def features(tower: Any, seen: Seen) -> NDArray[np.float32]:
    """What takes the places of a picture or a sound in a prompt, float32 [tokens, width]."""
    import torch

    with torch.inference_mode():
        if isinstance(seen, Sound):
            made = conformer.rows_of(tower, seen)
        else:
            made = clip.rows_of(tower, seen) if hasattr(tower, "clip") else _rows_of(tower, seen)
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
