"""A picture file → what a tower is given: the whole and its crops, and which patches of them are picture.

Microsoft's processing_phi4mm.py and processing_phi3_v.py in Pillow and numpy: the picture is scaled to fit a grid of
crops (bilinear), filled up with white, cut; before the crops comes the whole, made smaller (bicubic with a = -0.75 and
no anti-aliasing, as torch's interpolate has it: R. G. Keys 1981). Phi-4-multimodal's crops are of 448 × 448, as many as
the pixels need; Phi-3.5-vision's of 336 × 336, as many as fit into 16 along the longer side.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.pictures.kinds import PHI3V, PHI4MM, Kind

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, PATCH = PHI4MM.side, 14  # pixels of a crop's side, and of a patch's
PATCHES = SIDE // PATCH
MOST_CROPS = 36
MOST_TILES = 16  # of Phi-3.5-vision: for one picture, as its card says; preprocessor_config.json's 4 are for several
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
MOST_PIXELS = 50_000_000  # decoded: 150 MB
LEAST = 10  # pixels that are left of the shorter side, at least
SHARPNESS = -0.75


@dataclass(frozen=True, eq=False)
class Picture:
    """What a tower is given: the whole and its crops.

    pixels: float32 [1 + crops, 3, side, side], normalized; mask: bool [1 + crops, side / 14, side / 14], whether a
    patch is picture (to Phi-3.5-vision all are); height, width: of the grid of crops, in pixels. tokens: how many
    places it takes in a prompt.
    """

    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    height: int
    width: int

    @property
    def tokens(self) -> int:
        """The whole's rows of pairs of patches and an end each, one between, and the grid's picture likewise."""
        half: int = self.mask.shape[-1] // 2
        side = 2 * half * PATCH
        rows, columns = useful(self.mask[1:], self.height // side, self.width // side)
        return half * (half + 1) + 1 + rows * (columns + 1)


def useful(mask: NDArray[np.bool_], rows: int, columns: int) -> tuple[int, int]:
    """Of a grid's pooled patches, mask [rows * columns, n, n] of its crops, how many rows and columns are picture."""
    half = mask.shape[-1] // 2
    grid = mask[:, ::2, ::2].reshape(rows, columns, half, half).transpose(0, 2, 1, 3)
    whole = grid.reshape(rows * half, columns * half)
    return int(whole[:, 0].sum()), int(whole[0].sum())


def read_picture(path: Path, kind: Kind) -> Picture:
    """The file, decoded and cut for models of a kind.

    Raises DataError for one that is missing, broken, too large or too narrow.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise DataError(
                        f"{image.width} × {image.height} pixels are more than {MOST_PIXELS // 1_000_000} million",
                        where=str(path),
                        hint=f"make it smaller: a model sees some crops of {kind.side} × {kind.side}",
                    )
                return (tiled if kind is PHI3V else processed)(image.convert("RGB"), str(path))
    except FileNotFoundError:
        raise DataError("there is no such picture", where=str(path)) from None
    except UnidentifiedImageError:
        raise DataError("no picture that Pillow can read", where=str(path)) from None
    except Image.DecompressionBombError as error:
        raise DataError(f"too large: {error}", where=str(path)) from None
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's, for files that are cut or broken
        raise DataError(f"a broken picture: {error}", where=str(path)) from None


def processed(image: Image, where: str = "") -> Picture:
    """An RGB picture for Phi-4-multimodal. Raises DataError for one of extreme proportions."""
    from PIL.Image import Resampling

    (width, height), fitted = fitted_to(image.width, image.height)
    if min(fitted) < LEAST:
        raise DataError(f"{image.width} × {image.height} pixels: too narrow to be scaled to {fitted}", where=where)
    whole = np.full((height, width, 3), 255, np.uint8)
    whole[: fitted[1], : fitted[0]] = np.asarray(image.resize(fitted, Resampling.BILINEAR))
    pixels: NDArray[np.float32] = whole.transpose(2, 0, 1).astype(np.float32, order="C")
    pixels = (pixels / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    return Picture(_cut(pixels, SIDE), masked((width, height), fitted), height, width)


def fitted_to(width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of a picture, width and height in pixels of its grid of crops, and of what it is scaled to in there."""
    columns, rows = _grid(width, height)
    wide, high = columns * SIDE, rows * SIDE
    by_width, by_height = wide / width, high / height
    return (wide, high), (wide, int(height * by_width)) if by_width < by_height else (int(width * by_height), high)


def masked(grid: tuple[int, int], fitted: tuple[int, int]) -> NDArray[np.bool_]:
    """Which patches are picture, bool [1 + crops, 32, 32]; of the whole, which comes first, all."""
    columns, rows = (size // SIDE for size in grid)
    mask = np.ones((rows * PATCHES, columns * PATCHES), bool)
    mask[:, columns * PATCHES - (grid[0] - fitted[0]) // PATCH :] = False
    mask[rows * PATCHES - (grid[1] - fitted[1]) // PATCH :] = False
    masks = mask.reshape(rows, PATCHES, columns, PATCHES).transpose(0, 2, 1, 3).reshape(-1, PATCHES, PATCHES)
    return np.ascontiguousarray(np.concatenate([np.ones((1, PATCHES, PATCHES), bool), masks]))


def tiled(image: Image, where: str = "") -> Picture:
    """An RGB picture for Phi-3.5-vision. Raises DataError for one of extreme proportions."""
    from PIL.Image import Resampling, Transpose

    side, turned = PHI3V.side, image.width < image.height
    lying = image.transpose(Transpose.TRANSPOSE) if turned else image
    ratio, columns = lying.width / lying.height, 1
    while (columns + 1) * math.ceil((columns + 1) / ratio) <= MOST_TILES:
        columns += 1
    width, height = columns * side, int(columns * side / ratio)
    if height < LEAST:
        raise DataError(
            f"{image.width} × {image.height} pixels: too narrow to be scaled to {width, height}", where=where
        )
    rows = math.ceil(height / side)
    above = (rows * side - height) // 2
    whole = np.full((rows * side, width, 3), 255, np.uint8)
    whole[above : above + height] = np.asarray(lying.resize((width, height), Resampling.BILINEAR))
    whole = whole.transpose(1, 0, 2) if turned else whole
    pixels: NDArray[np.float32] = whole.transpose(2, 0, 1).astype(np.float32, order="C") / np.float32(255)
    mean, deviation = (np.array(values, np.float32)[:, None, None] for values in (MEAN, DEVIATION))
    cut = _cut((pixels - mean) / deviation, side)
    return Picture(cut, np.ones((len(cut), side // PATCH, side // PATCH), bool), *whole.shape[:2])


def _cut(pixels: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Pixels [3, height, width] → the whole, made smaller, and its crops: [1 + crops, 3, side, side]."""
    small = resampled(resampled(pixels, side).transpose(0, 2, 1), side).transpose(0, 2, 1)
    return np.ascontiguousarray(np.concatenate([small[None], in_crops(pixels, side)]))


def in_crops(pixels: NDArray[np.float32], side: int = SIDE) -> NDArray[np.float32]:
    """A grid's pixels [3, height, width] as its crops [crops, 3, side, side]."""
    rows, columns = pixels.shape[1] // side, pixels.shape[2] // side
    return pixels.reshape(3, rows, side, columns, side).transpose(1, 3, 0, 2, 4).reshape(-1, 3, side, side)


def _grid(width: int, height: int) -> tuple[int, int]:
    """Columns and rows of crops: as many as the pixels need, or of at most 36 those nearest in proportion."""
    columns, rows = math.ceil(width / SIDE), math.ceil(height / SIDE)
    if columns * rows <= MOST_CROPS:
        return columns, rows
    grids = {(i, j) for i in range(1, MOST_CROPS + 1) for j in range(1, MOST_CROPS + 1) if i * j <= MOST_CROPS}
    best, least = (1, 1), math.inf
    for grid in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        apart = abs(width / height - grid[0] / grid[1])
        if apart < least or (apart == least and width * height > 0.5 * SIDE * SIDE * grid[0] * grid[1]):
            best, least = grid, apart
    return best


def resampled(pixels: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The last axis brought to `size`: bicubic, half-pixel centres, edges repeated, no anti-aliasing."""
    length = pixels.shape[-1]
    if length == size:
        return pixels
    at = (np.arange(size, dtype=np.float64) + 0.5) * (length / size) - 0.5
    first = np.floor(at).astype(np.int64)
    made = np.zeros((*pixels.shape[:-1], size), np.float32)
    for tap in range(-1, 3):
        weights = _keys(np.abs(at - first - tap)).astype(np.float32)
        made += pixels[..., np.clip(first + tap, 0, length - 1)] * weights
    return made


def _keys(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    a, d = SHARPNESS, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
