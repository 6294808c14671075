"""Checkpoint → MLX folder in one floating-point type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.backends.mlx.files import import_mlx, load_folder, save_folder
from pipeline.loading import joined
from pipeline.types import Checkpoint

STORED = "stored"  # the checkpoint's own type, as mlx_lm.convert takes by default


def convert(checkpoint: Checkpoint, form: Mapping[str, Any], out: Path) -> None:
    """Write the checkpoint for `form` {dtype: float32, float16, bfloat16 or stored}."""
    mx = import_mlx()
    wanted = str(form["dtype"])
    dtype = getattr(mx, str(checkpoint.config.get("dtype", "bfloat16")) if wanted == STORED else wanted)
    with joined(checkpoint.folder, checkpoint.weights) as folder:
        model, config = load_folder(folder)
        model.set_dtype(dtype)
        config["dtype"] = config["torch_dtype"] = str(dtype).removeprefix("mlx.core.")
        save_folder(model, config, checkpoint.folder, out)
