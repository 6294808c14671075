"""Teacher-forced logits of an MLX model on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.mlx.files import import_mlx, load_folder


class MlxSession:
    """Accuracy mode computes in fp32, with scales and biases as they are; by default MLX computes in their type."""

    def __init__(self, folder: Path, default_mode: bool = False) -> None:
        self._mx = mx = import_mlx()
        self._model, config = load_folder(folder)
        if not default_mode:
            self._model.set_dtype(mx.float32)
        self.settings = {"computed_in": str(config.get("dtype")) if default_mode else "float32"}

    def logits(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits float32 [batch, length, vocab] of ids int64 [batch, length], from an empty cache."""
        out: Any = self._model(self._mx.array(ids)).astype(self._mx.float32)
        return np.array(out)
