"""OpenVINO as a backend: each method's work has a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.backends.base import Calibration, LogitsSession, Progress
from pipeline.errors import ConfigError, suggest
from pipeline.types import Checkpoint, QuantizationStats, Recipe


class OpenVinoBackend:
    """See `pipeline.backends.base.Backend`."""

    name = "openvino"
    has_default_mode = True
    batch = 1
    streams = False

    def convert(self, checkpoint: Checkpoint, form: Mapping[str, Any], out: Path) -> None:
        from pipeline.backends.openvino.convert import convert

        convert(checkpoint, form, out)

    def quantize(
        self, export: Path, recipe: Recipe, calibration: Calibration | None, out: Path, progress: Progress
    ) -> QuantizationStats:
        from pipeline.backends.openvino import compress, files, graph

        files.copy_files(export, out, files.SIDE_FILES)
        if recipe.method == "none":
            files.copy_files(export, out, (files.MODEL, files.WEIGHTS))
        elif recipe.method == "nncf":
            compress.compress(export, out, recipe.settings, calibration)
        elif recipe.method == "nncf-ptq":
            compress.quantize(export, out, recipe.settings, calibration)
        else:
            known = ("none", "nncf", "nncf-ptq")
            raise ConfigError(f"openvino has no method '{recipe.method}'", hint=suggest(recipe.method, known))
        return graph.statistics(out)

    def why_no_default_mode(self) -> str:
        return ""

    @contextmanager
    def open(self, build: Path, default_mode: bool = False) -> Iterator[LogitsSession]:
        from pipeline.backends.openvino.session import OpenVinoSession

        yield OpenVinoSession(build, default_mode)

    def package(self, build: Path, checkpoint: Checkpoint, target: Mapping[str, Any], out: Path) -> None:
        from pipeline.backends.openvino.files import MODEL, SIDE_FILES, WEIGHTS, copy_files

        copy_files(build, out, (MODEL, WEIGHTS, *SIDE_FILES))

    def run_instruction(self, package: Path, name: str) -> str:
        from pipeline.backends.openvino.instruction import run_instruction

        return run_instruction(name)
