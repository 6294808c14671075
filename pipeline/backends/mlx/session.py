"""Teacher-forced logits of an MLX model on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.mlx.files import import_mlx, load_folder


class MlxSession:
    """Accuracy mode computes in fp32 with the weights as they are; by default MLX computes in their scales' type.

    Quantized weights are unpacked first where memory allows: on a CPU, MLX multiplies packed ones many times slower.
    """

    def __init__(self, folder: Path, default_mode: bool = False) -> None:
        self._mx = mx = import_mlx()
        self._model, config = load_folder(folder)
        if not default_mode:
            self._model.set_dtype(mx.float32)
            if "quantization" in config and _fits(self._model):
                from mlx_lm.utils import dequantize_model

                self._model = dequantize_model(self._model)
        self.settings = {"computed_in": str(config.get("dtype")) if default_mode else "float32"}

    def logits(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits float32 [batch, length, vocab] of ids int64 [batch, length], from an empty cache."""
        out: Any = self._model(self._mx.array(ids)).astype(self._mx.float32)
        return np.array(out)


def _fits(model: Any) -> bool:
    """Whether all weights in fp32 take less than a third of the free memory."""
    import psutil
    from mlx_lm.utils import get_total_parameters

    return bool(4 * get_total_parameters(model) < psutil.virtual_memory().available / 3)
