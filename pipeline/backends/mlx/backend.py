"""MLX as a backend: each method's work has a file of its own."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Backend, Contents, Form, LogitsSession, Method
from pipeline.model.lowrank import LowRank
from pipeline.types import Checkpoint


class MlxBackend(Backend):
    name = "mlx"
    has_default_mode = True
    batch = 4

    def methods(self) -> Mapping[str, Method]:
        from pipeline.backends.mlx import mixed, quantize

        return {
            "mlx": Method(quantize.quantize, quantize.stream),
            "mixed": Method(mixed.quantize, mixed.stream),
        }

    def fitted(
        self, form: Form, name: str, rows: NDArray[np.float32], moments: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        from pipeline.backends.mlx.mixed import fitted

        return fitted(form, name, rows, moments)

    def stored_bits(self, form: Form, name: str, inputs: int, outputs: int) -> int | None:
        from pipeline.backends.mlx.mixed import stored_bits

        return stored_bits(name, inputs, outputs)

    def convert(self, checkpoint: Checkpoint, form: Form, out: Path) -> None:
        from pipeline.backends.mlx.convert import convert

        convert(checkpoint, form, out)

    def copy(self, export: Path, out: Path) -> None:
        from pipeline.backends.mlx.files import copy_model, copy_side_files

        copy_model(export, out)
        copy_side_files(export, out)

    def contents(self, folder: Path) -> Contents:
        from pipeline.backends.mlx.contents import contents

        return contents(folder)

    def why_no_default_mode(self) -> str:
        if platform.machine() == "arm64" and platform.system() == "Darwin":
            return ""
        return "needs Apple silicon: MLX multiplies packed weights too slowly on a CPU"

    @contextmanager
    def open(self, build: Path, default_mode: bool = False) -> Iterator[LogitsSession]:
        from pipeline.backends.mlx.session import MlxSession

        yield MlxSession(build, default_mode)

    def package(self, build: Path, checkpoint: Checkpoint, target: Mapping[str, Any], out: Path) -> None:
        self.copy(build, out)

    def add_adapters(self, package: Path, config: Mapping[str, Any], adapters: Mapping[str, LowRank]) -> None:
        from pipeline.backends.mlx.adapters import add_adapters

        add_adapters(package, config, adapters)

    def switch_instruction(self, name: str, prompt: str, adapters: Sequence[str]) -> str:
        from pipeline.backends.mlx.instruction import switch_instruction

        return switch_instruction(name, prompt, adapters)

    def run_instruction(self, package: Path, name: str, prompt: str, file: str = "") -> str:
        from pipeline.backends.mlx.instruction import run_instruction

        return run_instruction(name, prompt)


BACKEND = MlxBackend()
