"""OpenVINO as a backend: each method's work has a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.backends.base import Calibration, LogitsSession, Progress
from pipeline.types import Checkpoint, QuantizationStats, Recipe


class OpenVinoBackend:
    """See `pipeline.backends.base.Backend`."""

    name = "openvino"
    has_default_mode = True
    batch = 1
    unread: tuple[str, ...] = ()

    def convert(self, checkpoint: Checkpoint, form: Mapping[str, Any], out: Path) -> None:
        from pipeline.backends.openvino.convert import convert

        convert(checkpoint, form, out)

    def quantize(
        self, export: Path, recipe: Recipe, calibration: Calibration | None, out: Path, progress: Progress
    ) -> QuantizationStats:
        from pipeline.backends.openvino import contents, files
        from pipeline.backends.openvino.nncf import compressed

        files.copy_files(export, out, files.SIDE_FILES)
        if recipe.method == "none":
            files.copy_files(export, out, (files.MODEL, files.WEIGHTS))
        else:
            model = compressed(files.read_model(export), recipe, calibration, str(export))
            files.save_model(model, out / files.MODEL)
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
        from pipeline.backends.openvino import contents, convert, files
        from pipeline.backends.openvino.nncf import compressed

        if recipe.method == "none":
            self.convert(checkpoint, form, out)
            return contents.statistics(out)
        with convert.traced(checkpoint, form) as model:
            files.save_model(compressed(model, recipe, calibration, checkpoint.model), out / files.MODEL)
        convert.write_side_files(checkpoint, out)
        return contents.statistics(out)

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
