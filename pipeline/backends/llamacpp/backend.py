"""llama.cpp as a backend: each method's work has a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.backends.base import Calibration, LogitsSession, Progress
from pipeline.backends.staged import through_export
from pipeline.errors import ConfigError, suggest
from pipeline.files import copy_file
from pipeline.types import Checkpoint, QuantizationStats, Recipe


class LlamaCppBackend:
    """See `pipeline.backends.base.Backend`."""

    name = "llamacpp"
    has_default_mode = True
    batch = 1
    unread: tuple[str, ...] = ("Modelfile",)  # Ollama's

    def convert(self, checkpoint: Checkpoint, form: Mapping[str, Any], out: Path) -> None:
        from pipeline.backends.llamacpp.convert import convert

        convert(checkpoint, form, out)

    def quantize(
        self, export: Path, recipe: Recipe, calibration: Calibration | None, out: Path, progress: Progress
    ) -> QuantizationStats:
        from pipeline.backends.llamacpp.contents import statistics
        from pipeline.backends.llamacpp.files import MODEL, model_file
        from pipeline.backends.llamacpp.quantize import quantize

        if recipe.method == "none":
            copy_file(model_file(export), out / MODEL)
        elif recipe.method == "gguf":
            quantize(export, out / MODEL, recipe.settings, calibration, progress)
        else:
            known = ("none", "gguf")
            raise ConfigError(f"llamacpp has no method '{recipe.method}'", hint=suggest(recipe.method, known))
        return statistics(out)

    def stream(
        self,
        checkpoint: Checkpoint,
        form: Mapping[str, Any],
        recipe: Recipe,
        calibration: Calibration | None,
        out: Path,
        progress: Progress,
    ) -> QuantizationStats:
        from pipeline.backends.llamacpp.contents import statistics

        if recipe.method == "none":
            self.convert(checkpoint, form, out)
        elif recipe.method != "gguf" or form.get("root") or recipe.settings.get("imatrix") == "calibration":
            # llama.cpp's script writes a whole file; an importance matrix is collected by running one
            return through_export(self, checkpoint, form, recipe, calibration, out, progress)
        else:
            from pipeline.backends.llamacpp.stream import stream

            stream(checkpoint, form, recipe.settings, out, progress)
        return statistics(out)

    def why_no_default_mode(self) -> str:
        return ""

    @contextmanager
    def open(self, build: Path, default_mode: bool = False) -> Iterator[LogitsSession]:
        from pipeline.backends.llamacpp.session import GgufSession

        session = GgufSession(build, default_mode)
        try:
            yield session
        finally:
            session.close()

    def package(self, build: Path, checkpoint: Checkpoint, target: Mapping[str, Any], out: Path) -> None:
        from pipeline.backends.llamacpp.package import write_package

        write_package(build, checkpoint, out)

    def run_instruction(self, package: Path, name: str) -> str:
        from pipeline.backends.llamacpp.package import run_instruction

        return run_instruction(name)
