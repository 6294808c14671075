"""Phi-3.5-vision's tower of transformers' CLIP: its rows put together as Microsoft's modeling_phi3_v.py does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.pictures.phi3v import SIDE
from pipeline.pictures.processing import PATCH, Picture

if TYPE_CHECKING:
    import torch

HALF = SIDE // PATCH // 2  # pairs of patches a side


def empty(sizes: dict[str, int], hidden: int) -> Any:
    """The torch module without values: `clip` (but the layer that is not computed), `img_projection` and two ends."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        **{**sizes, "num_hidden_layers": sizes["num_hidden_layers"] - 1},
        image_size=SIDE,
        patch_size=PATCH,
        hidden_act="quick_gelu",
        layer_norm_eps=1e-5,
        attn_implementation="eager",
    )
    tower: Any = torch.nn.Module()
    rows = 4 * sizes["hidden_size"]
    with torch.device("meta"):
        tower.clip = CLIPVisionModel(config)
        tower.clip.post_layernorm = torch.nn.Identity()  # of what is not read
        tower.img_projection = torch.nn.Sequential(
            torch.nn.Linear(rows, hidden), torch.nn.GELU(), torch.nn.Linear(hidden, hidden)
        )
        tower.glb_GN = torch.nn.Parameter(torch.empty(1, 1, rows))
        tower.sub_GN = torch.nn.Parameter(torch.empty(1, 1, 1, rows))
    tower.to_empty(device="cpu")
    positions = tower.clip.embeddings
    positions.position_ids = torch.arange(positions.num_positions)[None]  # no parameter: it lies in no file
    return tower


def rows_of(tower: Any, picture: Picture) -> torch.Tensor:
    """What takes a picture's places, float32 [tokens, hidden]: the grid, one between, the whole."""
    import torch

    pixels = torch.from_numpy(picture.pixels)
    states = torch.cat([tower.clip(crop[None]).last_hidden_state[:, 1:] for crop in pixels])  # without its own token
    rows, columns = picture.height // SIDE, picture.width // SIDE
    parts = [_lines(tower, states[1:], rows, columns), tower.glb_GN[0], _lines(tower, states[:1], 1, 1)]
    made: torch.Tensor = tower.img_projection(torch.cat(parts))
    return made


def _lines(tower: Any, states: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Features [rows * columns, 576, d] of a grid of crops → [rows * 12 * (columns * 12 + 1), 4 d].

    Two by two patches are one, and each row of them has an end of its own.
    """
    import torch

    grid = states.reshape(rows, columns, HALF, 2, HALF, 2, -1).permute(0, 2, 1, 4, 3, 5, 6)
    grid = grid.reshape(rows * HALF, columns * HALF, -1)
    ends = tower.sub_GN[0].expand(rows * HALF, 1, -1)
    return torch.cat([grid, ends], 1).flatten(0, 1)
