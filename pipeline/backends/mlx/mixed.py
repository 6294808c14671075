"""A format for each module, calibrated a layer at a time: MLX's own kernels, and what a block of columns loses is
spread over those behind it.

Formats by name: `int4-64` is affine, 4 bits in groups of 64; `nvfp4`, `mxfp4` and `mxfp8` have groups of their own.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Form, Order
from pipeline.backends.mlx.convert import converted
from pipeline.backends.mlx.files import import_mlx, save_folder
from pipeline.calibration.blocks import compensated
from pipeline.calibration.moments import matrices
from pipeline.calibration.table import check_table
from pipeline.errors import ConfigError
from pipeline.model.checkpoint import EMBEDDING, HEAD
from pipeline.types import Checkpoint

NAME = re.compile(r"int(?P<bits>[234568])-(?P<group>32|64|128)")
MODES = {"nvfp4": (16, 4), "mxfp4": (32, 4), "mxfp8": (32, 8)}  # group size and bits
SPREAD = 128  # columns whose error is spread at once: a whole number of any format's groups
EXACT = 8  # bits that leave nothing to spread
TABLE_ROWS = 8192  # rows above which a matrix is done in parts


def parameters_of(name: str) -> dict[str, Any]:
    """mlx-lm's words for a format: group_size, bits, mode. Raises ConfigError for an unknown one."""
    if name in MODES:
        return {"group_size": MODES[name][0], "bits": MODES[name][1], "mode": name}
    found = NAME.fullmatch(name)
    if not found:
        others = ", ".join(MODES)
        raise ConfigError(f"unknown format '{name}'", hint=f"int4-64, int8-128 … (groups of 32 to 128), {others}")
    return {"group_size": int(found["group"]), "bits": int(found["bits"]), "mode": "affine"}


def stored_bits(name: str, inputs: int, outputs: int) -> int | None:
    """Bits of a matrix: scale and bias of 16 bits for a group, or a scale of 8; None where groups do not divide it."""
    words = parameters_of(name)
    group = words["group_size"]
    beside = 32 if words["mode"] == "affine" else 8
    return None if inputs % group else outputs * (inputs * words["bits"] + beside * (inputs // group))


def fitted(
    form: Form, name: str, rows: NDArray[np.float32], moments: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Rows [rows, inputs] of a matrix as MLX reads them in a format."""
    return _quantized(name, rows, moments)[1]


def quantize(export: Path, order: Order) -> None:
    """The same as `stream`: the checkpoint is run in any case."""
    if order.checkpoint is None:
        raise ConfigError("this recipe needs the checkpoint")
    stream(order.checkpoint, {"dtype": "stored", "precision": "bf16", "factors": "short"}, order)


def stream(checkpoint: Checkpoint, form: Form, order: Order) -> None:
    """Write the folder with the formats of the recipe's table {tensor of the checkpoint: format}.

    Raises ConfigError without calibration data, ArtifactError for a table of another model.
    """
    table, mx = order.recipe.settings["table"], import_mlx()
    if order.calibration is None:
        raise ConfigError("this recipe needs calibration data", hint="set evaluate.calibration")
    with ExitStack() as opened, TemporaryDirectory(dir=order.out, prefix="packed-") as packed:
        model, config = opened.enter_context(converted(checkpoint, form))
        check_table(table, [f"{name}.weight" for name in _modules(model)])
        model, config = _shaped(model, config, table)
        source, ids, tied = checkpoint, order.calibration.ids, HEAD not in table
        for matrix in matrices(source.folder, source.weights, ids, Path(packed), order.progress):
            if tied and matrix.name == EMBEDDING:
                continue
            name = EMBEDDING if tied and matrix.name == HEAD else matrix.name
            arrays = _packed(table[name], matrix.weights(), matrix.moments, str(config["dtype"]))
            path = str(Path(packed) / f"{name}.safetensors")
            mx.save_safetensors(path, arrays)
            _modules(model)[name.removesuffix(".weight")].update(mx.load(path))
        save_folder(model, config, checkpoint.folder, order.out)


def _modules(model: Any) -> dict[str, Any]:
    """{path: module} of what has a matrix: linear layers and the embedding."""
    from mlx.utils import tree_flatten

    leaves = tree_flatten(model.leaf_modules(), is_leaf=lambda found: hasattr(found, "parameters"))
    return {path: module for path, module in leaves if "weight" in module and module.weight.ndim == 2}


def _shaped(model: Any, config: dict[str, Any], table: Mapping[str, str]) -> tuple[Any, dict[str, Any]]:
    """The model with modules of the table's formats, whose arrays are still to come; config.json says them."""
    from mlx_lm.utils import quantize_model

    def chosen(path: str, module: Any) -> Any:
        return parameters_of(table[f"{path}.weight"])

    with contextlib.redirect_stdout(io.StringIO()):
        made: tuple[Any, dict[str, Any]] = quantize_model(model, config, 32, 4, quant_predicate=chosen)
    return made


def _packed(name: str, weights: NDArray[np.float32], moments: NDArray[np.float32] | None, dtype: str) -> dict[str, Any]:
    mx, starts = import_mlx(), range(0, len(weights), TABLE_ROWS)
    parts = [_quantized(name, weights[first : first + TABLE_ROWS], moments, dtype)[0] for first in starts]
    return {key: mx.concatenate([part[key] for part in parts]) for key in parts[0]}


def _quantized(
    name: str, rows: NDArray[np.float32], moments: NDArray[np.float32] | None, dtype: str = "bfloat16"
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """(a module's arrays, values float32 [rows, inputs])."""
    mx, words = import_mlx(), parameters_of(name)
    slices: list[dict[str, Any]] = []

    def kernel(columns: NDArray[np.float32], part: slice) -> NDArray[np.float32]:
        made = mx.quantize(mx.array(columns).astype(getattr(mx, dtype)), **words)
        arrays = dict(zip(("weight", "scales", "biases"), made, strict=False))
        slices.append(arrays)
        return np.array(mx.dequantize(*made, **words).astype(mx.float32))

    if moments is None or words["bits"] >= EXACT:
        values = kernel(rows, slice(None))
    else:
        values = compensated(rows, moments, SPREAD, kernel)
    return {key: mx.concatenate([part[key] for part in slices], axis=1) for key in slices[0]}, values
