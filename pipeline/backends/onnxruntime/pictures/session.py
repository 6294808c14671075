"""A build that sees, teacher-forced by plain ONNX Runtime: tower, embedding and decoder one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.onnxruntime.files import VISION
from pipeline.backends.onnxruntime.pictures.tower import INPUTS
from pipeline.backends.onnxruntime.session import OnnxSession, opened
from pipeline.pictures.processing import Picture


class OnnxSight:
    """What the tower made of the last picture is kept: questions on one picture come one behind the other."""

    settings: Mapping[str, str] = {}

    def __init__(self, build: Path) -> None:
        self._decoder, self._tower = OnnxSession(build), opened(build, VISION)
        self._last: tuple[Picture, NDArray[np.float32]] | None = None

    def logits(self, ids: NDArray[np.int64], picture: Picture) -> NDArray[np.float32]:
        """Logits float32 [length, vocab] of ids int64 [length]."""
        if self._last is None or self._last[0] is not picture:
            self._last = (picture, self.seen(picture))
        rows: NDArray[np.float32] = self._decoder.logits(ids[None], self._last[1])[0]
        return rows

    def seen(self, picture: Picture) -> NDArray[np.float32]:
        """What takes the picture's places, float32 [tokens, width]."""
        values = (picture.pixels, np.array([picture.height, picture.width]), picture.mask.astype(np.float32))
        taken = {entry.name for entry in self._tower.get_inputs()}
        named = zip(INPUTS, values, strict=True)
        feed: dict[str, NDArray[Any]] = {name: value[None] for name, value in named if name in taken}
        rows: NDArray[np.float32] = self._tower.run(None, feed)[0]
        return rows
