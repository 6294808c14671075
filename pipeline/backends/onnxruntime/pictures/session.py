"""A build that sees or hears, teacher-forced by plain ONNX Runtime: tower, embedding and decoder, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.onnxruntime.files import TOWER, modality_of
from pipeline.backends.onnxruntime.pictures import conformer, tower
from pipeline.backends.onnxruntime.session import OnnxSession, opened
from pipeline.pictures.media import Seen
from pipeline.pictures.sound import Sound


class OnnxSight:
    """What the tower made of the last picture or sound is kept: questions on one come one behind the other."""

    settings: Mapping[str, str] = {}

    def __init__(self, build: Path) -> None:
        self._decoder, self._tower = OnnxSession(build), opened(build, TOWER.format(modality_of(build)))
        self._last: tuple[Seen, NDArray[np.float32]] | None = None

    def logits(self, ids: NDArray[np.int64], seen: Seen) -> NDArray[np.float32]:
        """Logits float32 [length, vocab] of ids int64 [length]."""
        if self._last is None or self._last[0] is not seen:
            self._last = (seen, self.seen(seen))
        rows: NDArray[np.float32] = self._decoder.logits(ids[None], self._last[1])[0]
        return rows

    def seen(self, seen: Seen) -> NDArray[np.float32]:
        """What takes its places, float32 [tokens, width]."""
        if isinstance(seen, Sound):
            named = dict(zip(conformer.NAMES.values(), (seen.features, np.int64(seen.tokens)), strict=True))
        else:
            values = (seen.pixels, np.array([seen.height, seen.width]), seen.mask.astype(np.float32))
            named = dict(zip(tower.INPUTS, values, strict=True))
        taken = {entry.name for entry in self._tower.get_inputs()}
        feed: dict[str, NDArray[Any]] = {
            name: np.asarray(value)[None] for name, value in named.items() if name in taken
        }
        rows: NDArray[np.float32] = self._tower.run(None, feed)[0]
        return rows
