"""mx.quantize by slabs of rows: on a CPU, MLX's floating-point modes take up to 80 bytes a weight of one call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.backends.mlx.files import import_mlx

WEIGHTS = 1 << 18  # in a slab; MLX has some twenty of them under way
WHOLE = "affine"  # has a kernel of its own


@contextmanager
def in_slabs() -> Iterator[None]:
    """Within it, mx.quantize takes a matrix slab by slab: groups lie in rows, so the bytes are the same."""
    mx = import_mlx()
    own = mx.quantize

    def quantize(w: Any, *arguments: Any, mode: str = WHOLE, **options: Any) -> Any:
        if mode == WHOLE or w.ndim != 2 or w.size <= WEIGHTS:
            return own(w, *arguments, mode=mode, **options)
        rows = max(1, WEIGHTS // w.shape[1])
        slabs = [own(w[at : at + rows], *arguments, mode=mode, **options) for at in range(0, w.shape[0], rows)]
        return [mx.concatenate(parts) for parts in zip(*slabs, strict=True)]

    mx.quantize = quantize
    try:
        yield
    finally:
        mx.quantize = own
