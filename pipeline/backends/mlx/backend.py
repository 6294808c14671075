"""MLX as a backend: each method's work has a file of its own."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.backends.base import Calibration, LogitsSession, Progress
from pipeline.errors import ConfigError, suggest
from pipeline.types import Checkpoint, QuantizationStats, Recipe


class MlxBackend:
    """See `pipeline.backends.base.Backend`."""

    name = "mlx"
    has_default_mode = True
    batch = 4
    unread: tuple[str, ...] = ()

    def convert(self, checkpoint: Checkpoint, form: Mapping[str, Any], out: Path) -> None:
        from pipeline.backends.mlx.convert import convert

        convert(checkpoint, form, out)

    def quantize(
        self, export: Path, recipe: Recipe, calibration: Calibration | None, out: Path, progress: Progress
    ) -> QuantizationStats:
        from pipeline.backends.mlx import contents, files
        from pipeline.backends.mlx.quantize import quantize

        if recipe.method == "none":
            files.copy_model(export, out)
            files.copy_side_files(export, out)
        elif recipe.method == "mlx":
            quantize(export, out, recipe.settings, calibration, progress)
        else:
            raise _unknown(recipe.method)
        return contents.statistics(out)

    def stream(
        self,
        checkpoint: Checkpoint,
        form: Mapping[str, Any],
        recipe: Recipe,
        calibration: Calibration | None,
        out: Path,
        progress: Progress,
    ) -> QuantizationStats:
        from pipeline.backends.mlx import contents
        from pipeline.backends.mlx.quantize import stream

        if recipe.method == "none":
            self.convert(checkpoint, form, out)
        elif recipe.method == "mlx":
            stream(checkpoint, form, out, recipe.settings, calibration, progress)
        else:
            raise _unknown(recipe.method)
        return contents.statistics(out)

    def why_no_default_mode(self) -> str:
        if platform.machine() == "arm64" and platform.system() == "Darwin":
            return ""
        return "needs Apple silicon: MLX multiplies packed weights too slowly on a CPU"

    @contextmanager
    def open(self, build: Path, default_mode: bool = False) -> Iterator[LogitsSession]:
        from pipeline.backends.mlx.session import MlxSession

        yield MlxSession(build, default_mode)

    def package(self, build: Path, checkpoint: Checkpoint, target: Mapping[str, Any], out: Path) -> None:
        from pipeline.backends.mlx.files import copy_model, copy_side_files

        copy_model(build, out)
        copy_side_files(build, out)

    def run_instruction(self, package: Path, name: str) -> str:
        from pipeline.backends.mlx.instruction import run_instruction

        return run_instruction(name)


def _unknown(method: str) -> ConfigError:
    return ConfigError(f"mlx has no method '{method}'", hint=suggest(method, ("none", "mlx")))
