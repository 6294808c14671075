"""A build that sees, teacher-forced: tower, projector, embedding and decoder one after the other.

What VLMPipeline does between them in C++ (positions of patches, rows put together) is done here in numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.openvino.files import EMBEDDING, PROJECTOR, TOWER
from pipeline.backends.openvino.session import OpenVinoSession, opened
from pipeline.errors import ConfigError
from pipeline.files import read_json
from pipeline.pictures.kinds import PHI4MM
from pipeline.pictures.media import Seen
from pipeline.pictures.processing import PATCHES, SIDE, Picture, useful
from pipeline.pictures.sound import Sound

HALF = PATCHES // 2


class OpenVinoSight:
    """What the tower made of the last picture is kept: questions on one picture come one behind the other."""

    def __init__(self, build: Path, default_mode: bool = False) -> None:
        self._decoder = OpenVinoSession(build, default_mode)
        self._tower, self._projector, self._embedding = (
            opened(build, name, default_mode) for name in (TOWER, PROJECTOR, EMBEDDING)
        )
        config = read_json(build / "config.json")
        self._ends = [np.asarray(config[name], np.float32).ravel() for name in ("sub_GN", "glb_GN")]
        self._last: tuple[Picture, NDArray[np.float32]] | None = None

    @property
    def settings(self) -> Mapping[str, str]:
        return self._decoder.settings

    def logits(self, ids: NDArray[np.int64], picture: Seen) -> NDArray[np.float32]:
        """Logits float32 [length, vocab] of ids int64 [length]."""
        if isinstance(picture, Sound):
            raise ConfigError("openvino takes no sounds")
        if self._last is None or self._last[0] is not picture:
            self._last = (picture, self.seen(picture))
        place = ids == PHI4MM.place
        words: NDArray[np.float32] = self._embedding([np.where(place, 0, ids)[None]])[0].copy()
        words[0, place] = self._last[1]
        rows: NDArray[np.float32] = self._decoder.logits(ids[None], words)[0]
        return rows

    def seen(self, picture: Picture) -> NDArray[np.float32]:
        """What takes the picture's places, float32 [tokens, width]."""
        pooled = self._tower([picture.pixels, picture.mask, _positions(picture.mask)])[0]
        rows: NDArray[np.float32] = self._projector([_in_rows(pooled, picture, *self._ends)[None]])[0][0]
        return rows


def _positions(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Which of the 32 × 32 positions each patch has, int64 [crops, 1024]: where in the picture's part of its crop."""
    found = np.zeros(mask.shape, np.int64)
    for own, held in zip(found, mask, strict=True):
        rows, columns = (_buckets(int(line.sum())) for line in (held[:, 0], held[0]))
        own[:] = np.where(held, rows[:, None] * PATCHES + columns[None], 0)
    return found.reshape(len(mask), -1)


def _buckets(count: int) -> NDArray[np.int64]:
    """Of 32 places, `count` of them useful: which thirty-second of these each is in."""
    share = np.arange(PATCHES, dtype=np.float32) * np.float32(1 / max(count, 1))
    found: NDArray[np.int64] = np.floor(np.minimum(share, np.float32(1 - 1e-6)) * PATCHES).astype(np.int64)
    return found


def _in_rows(
    pooled: NDArray[np.float32], picture: Picture, end: NDArray[np.float32], between: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Features [crops, 256, width] as rows [tokens, width]: the picture's part of the crops, then the whole."""
    width, down, across = pooled.shape[-1], picture.height // SIDE, picture.width // SIDE
    grid = pooled.reshape(-1, HALF, HALF, width)
    crops = grid[1 : 1 + down * across].reshape(down, across, HALF, HALF, width).transpose(0, 2, 1, 3, 4)
    rows, columns = useful(picture.mask[1:], down, across)
    part = crops.reshape(down * HALF, across * HALF, width)[:rows, :columns]

    def ended(lines: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([lines, np.tile(end, (len(lines), 1, 1))], 1).reshape(-1, width)

    return np.concatenate([ended(part), between[None], ended(grid[0])])
