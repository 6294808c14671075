"""Tower and projector as one ONNX graph that takes a picture of any size: traced from transformers' own modules.

Python numbers taken out of tensors to put crops together again would be kept by a trace; here rows and columns are
gathered. Of Phi-4-multimodal's position buckets `floor(32 x)` is what 32 patches a side give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.backends.onnxruntime.pictures.trace import exported
from pipeline.pictures.kinds import PHI3V, Kind
from pipeline.pictures.processing import PATCH, PATCHES, SIDE

if TYPE_CHECKING:
    import onnx

NAMES = {"pixel_values": "pixel_values", "image_sizes": "image_sizes", "attention_mask": "image_attention_mask"}
INPUTS, OUTPUT = tuple(NAMES.values()), "image_features"  # GenAI's names of inputs → the graph's
HALF = PATCHES // 2


def traced(embed: Any, kind: Kind) -> onnx.ModelProto:
    """The graph: pixel_values [1, crops, 3, side, side], image_sizes [1, 2], image_attention_mask → rows.

    Of Phi-3.5-vision without the mask. Its weights are inputs (`trace.exported`).
    """
    import torch

    side, patches = kind.side, kind.side // PATCH
    example = (torch.zeros(1, 3, 3, side, side), torch.tensor([[side, 2 * side]]), torch.ones(1, 3, patches, patches))
    names = INPUTS[:2] if kind is PHI3V else INPUTS
    axes = {name: {0: "images"} if name == INPUTS[1] else {0: "images", 1: "crops"} for name in names}
    traced = of_tiles(embed) if kind is PHI3V else module(embed)
    return exported(traced, example[: len(names)], names, OUTPUT, {**axes, OUTPUT: {0: "image_tokens"}})


def module(embed: Any) -> Any:
    """The torch module of transformers' Phi4MultimodalImageEmbedding without numbers taken from tensors."""
    import torch

    tower = embed.img_processor
    layers = tower.encoder.layers[: len(tower.encoder.layers) + 1 + embed.layer_idx]

    def positions(mask: Any) -> Any:
        def bucket(count: Any) -> Any:
            share = torch.arange(PATCHES)[None].float() * (1.0 / count)[:, None]
            return (share.clamp(max=1 - 1e-6) * PATCHES).floor().long()

        rows, columns = bucket(mask[:, :, 0].float().sum(1)), bucket(mask[:, 0, :].float().sum(1))
        ids = rows[:, :, None] * PATCHES + columns[:, None, :]
        return torch.where(mask, ids, torch.zeros_like(ids)).flatten(1)

    def pooled(pixels: Any, mask: Any) -> Any:
        """[crops, 16, 16, d]."""
        hidden = tower.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        hidden = hidden + tower.embeddings.position_embedding(positions(mask))
        bias = (1.0 - mask.flatten(1)[:, None, None, :].to(hidden.dtype)) * torch.finfo(torch.float32).min
        for layer in layers:
            hidden = layer(hidden, bias)
        grid = hidden.reshape(-1, PATCHES, PATCHES, hidden.shape[-1]).permute(0, 3, 1, 2)
        return embed.image_token_compression(grid).permute(0, 2, 3, 1)

    class Sight(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = embed

        def forward(self, pixel_values: Any, image_sizes: Any, image_attention_mask: Any) -> Any:
            mask = image_attention_mask[0] > 0.5
            seen = pooled(pixel_values[0], mask)
            width = seen.shape[-1]
            end = embed.sub_img_feature_extensor[0]
            whole = torch.cat([seen[0], end.expand(HALF, 1, width)], 1).reshape(1, -1, width)
            high, wide = image_sizes[0, 0] // SIDE, image_sizes[0, 1] // SIDE
            rows, columns = torch.arange(high * HALF), torch.arange(wide * HALF)
            grid = gathered(seen[1:], high, wide)
            held = mask[1:, ::2, ::2]
            first_column = held[(rows // HALF) * wide, rows % HALF, 0]
            first_row = held[columns // HALF, 0, columns % HALF]
            part = grid[: first_column.sum(), : first_row.sum()]
            part = torch.cat([part, end.expand(part.shape[0], 1, width)], 1).reshape(1, -1, width)
            rows_of = torch.cat([part, embed.global_img_feature_extensor, whole], 1)
            return embed.img_projection_down(torch.nn.functional.gelu(embed.img_projection_up(rows_of)))[0]

    return Sight().eval()


def of_tiles(tower: Any) -> Any:
    """The torch module of Phi-3.5-vision's tower (pipeline.pictures.clip); crops behind the grid's are left out."""
    import torch

    side, half = PHI3V.side, PHI3V.side // PATCH // 2

    def pooled(pixels: Any) -> Any:
        """[crops, 12, 12, 4 d]."""
        hidden = tower.clip.pre_layrnorm(tower.clip.embeddings(pixels))
        for layer in tower.clip.encoder.layers:
            hidden = layer(hidden, None)
        pairs = hidden[:, 1:].reshape(-1, half, 2, half, 2, hidden.shape[-1]).permute(0, 1, 3, 2, 4, 5)
        return pairs.reshape(-1, half, half, 4 * hidden.shape[-1])

    def lines(grid: Any) -> Any:
        end = tower.sub_GN[0].expand(grid.shape[0], 1, grid.shape[2])
        return torch.cat([grid, end], 1).reshape(-1, grid.shape[2])

    class Sight(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = tower

        def forward(self, pixel_values: Any, image_sizes: Any) -> Any:
            high, wide = image_sizes[0, 0] // side, image_sizes[0, 1] // side
            seen = pooled(pixel_values[0][: 1 + high * wide])
            rows = torch.cat([lines(gathered(seen[1:], high, wide)), tower.glb_GN[0], lines(seen[0])])
            return tower.img_projection(rows)

    return Sight().eval()


def gathered(crops: Any, high: Any, wide: Any) -> Any:
    """Features [crops, n, n, d] of `high` rows of `wide` crops as one grid [high * n, wide * n, d]."""
    import torch

    half, width = crops.shape[-2], crops.shape[-1]
    rows, columns = torch.arange(high * half), torch.arange(wide * half)
    crop = (rows // half)[:, None] * wide + (columns // half)[None, :]
    down = (rows % half)[:, None].expand(high * half, wide * half)
    across = (columns % half)[None, :].expand(high * half, wide * half)
    grid = crops[crop.reshape(-1), down.reshape(-1), across.reshape(-1)]
    return grid.reshape(high * half, wide * half, width)
