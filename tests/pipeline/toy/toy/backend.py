"""The toy as a backend."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.backends.base import Backend, Contents, Form, LogitsSession, Method, Order
from pipeline.files import copy_file
from pipeline.types import Checkpoint

MODEL, CONFIG = "weights.npz", "config.json"


def rounded(export: Path, order: Order) -> None:
    """Every matrix as int8 with a scale per row."""
    import numpy as np

    made = {}
    for name, matrix in np.load(export / MODEL).items():
        if matrix.ndim < 2:
            made[name] = matrix
            continue
        scale = np.abs(matrix).max(axis=1, keepdims=True) / 127
        steps = matrix / scale
        whole = np.floor(steps) if order.recipe.settings["rounding"] == "down" else np.rint(steps)
        made |= {f"{name}:int8": whole.astype(np.int8), f"{name}:scale": scale.astype(np.float32)}
    np.savez(order.out / MODEL, **made)
    copy_file(export / CONFIG, order.out / CONFIG)


class ToyBackend(Backend):
    name = "toy"

    def methods(self) -> Mapping[str, Method]:
        return {"rounding": Method(rounded)}

    def convert(self, checkpoint: Checkpoint, form: Form, out: Path) -> None:
        import numpy as np

        from pipeline.model.checkpoint import read_float32, read_headers

        tensors = {name: read_float32(tensor) for name, tensor in read_headers(checkpoint.weights).items()}
        np.savez(out / MODEL, **tensors)
        (out / CONFIG).write_text(json.dumps(dict(checkpoint.config)), encoding="utf-8")

    def copy(self, export: Path, out: Path) -> None:
        for name in (MODEL, CONFIG):
            copy_file(export / name, out / name)

    def contents(self, folder: Path) -> Contents:
        import numpy as np

        held = np.load(folder / MODEL)
        weights = sum(array.size for name, array in held.items() if not name.endswith(":scale"))
        packed = sum(name.endswith(":int8") for name in held)
        return Contents(packed, 8 * sum(array.nbytes for array in held.values()), weights, {})

    @contextmanager
    def open(self, build: Path, default_mode: bool = False) -> Iterator[LogitsSession]:
        from pipeline.backends.toy.runtime import ToyModel

        yield ToyModel(build)

    def package(self, build: Path, checkpoint: Checkpoint, target: Mapping[str, Any], out: Path) -> None:
        self.copy(build, out)

    def run_instruction(self, package: Path, name: str, prompt: str, file: str = "") -> str:
        return f"pip install toylib, then open {name}\n"


BACKEND = ToyBackend()
