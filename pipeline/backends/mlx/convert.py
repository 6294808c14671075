"""Checkpoint → MLX model, and folder, in one floating-point type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.backends.mlx.files import import_mlx, load_folder, save_folder
from pipeline.errors import ConfigError
from pipeline.model.loading import joined
from pipeline.types import Checkpoint

SHORT, LONG = "short", "long"
STORED = "stored"  # the checkpoint's own type, as mlx_lm.convert takes by default


def convert(checkpoint: Checkpoint, form: Mapping[str, Any], out: Path) -> None:
    """Write the checkpoint in `form`, as `converted` has it."""
    with converted(checkpoint, form) as (model, config):
        save_folder(model, config, checkpoint.folder, out)


@contextmanager
def converted(checkpoint: Checkpoint, form: Mapping[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """(model, config) for `form` {dtype: float32, float16, bfloat16 or stored; factors: short or long}.

    MLX is lazy: no weight is read before it is computed with or saved.
    """
    mx = import_mlx()
    wanted = str(form["dtype"])
    dtype = getattr(mx, str(checkpoint.config.get("dtype", "bfloat16")) if wanted == STORED else wanted)
    with joined(checkpoint.folder, checkpoint.weights) as folder:
        model, config = load_folder(folder)
        model.set_dtype(dtype)
        config["dtype"] = config["torch_dtype"] = str(dtype).removeprefix("mlx.core.")
        yield model, _with_factors(config, str(form.get("factors", SHORT)))


def _with_factors(config: dict[str, Any], which: str) -> dict[str, Any]:
    """LongRoPE with one set of factors: mlx-lm takes those for long contexts at every length.

    `short` is exact up to the model's original context and wrong behind it, `long` the other way round.
    """
    if which not in (SHORT, LONG):
        raise ConfigError(f"factors is '{which}', not {SHORT} or {LONG}", where="form of mlx")
    scaling = config.get("rope_scaling") or {}
    if which == LONG or scaling.get("type") != "longrope":
        return config
    short = {"long_factor": scaling["short_factor"]}
    both = {"rope_scaling": {**scaling, **short}, "rope_parameters": {**config.get("rope_parameters", {}), **short}}
    return {**config, **both}
