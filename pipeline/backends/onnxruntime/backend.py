"""ONNX Runtime as a backend: each method's work has a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.backends.base import Calibration, LogitsSession, Progress
from pipeline.backends.staged import through_export
from pipeline.errors import ConfigError, suggest
from pipeline.types import Checkpoint, QuantizationStats, Recipe


class OnnxRuntimeBackend:
    """See `pipeline.backends.base.Backend`."""

    name = "onnxruntime"
    has_default_mode = False
    batch = 1
    unread: tuple[str, ...] = ()

    def convert(self, checkpoint: Checkpoint, form: Mapping[str, Any], out: Path) -> None:
        if form["provider"] == "qnn":
            from pipeline.backends.onnxruntime.fixed.convert import convert
        else:
            from pipeline.backends.onnxruntime.convert import convert
        convert(checkpoint, form, out)

    def quantize(
        self, export: Path, recipe: Recipe, calibration: Calibration | None, out: Path, progress: Progress
    ) -> QuantizationStats:
        from pipeline.backends.onnxruntime import contents, files, integer, nncf, weight_only
        from pipeline.backends.onnxruntime.fixed import qdq

        files.copy_side_files(export, out)
        if recipe.method == "none":
            files.copy_model(export, out)
        elif recipe.method == "weight-only":
            weight_only.quantize(export, out, recipe.settings, progress)
        elif recipe.method == "dynamic":
            integer.quantize_dynamic(export, out, recipe.settings)
        elif recipe.method == "static":
            integer.quantize_static(export, out, recipe.settings, calibration)
        elif recipe.method == "nncf":
            nncf.compress(export, out, recipe.settings, calibration)
        elif recipe.method == "qdq":
            qdq.quantize(export, out, recipe.settings, calibration)
        else:
            known = ("none", "weight-only", "dynamic", "static", "nncf", "qdq")
            raise ConfigError(f"onnxruntime has no method '{recipe.method}'", hint=suggest(recipe.method, known))
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
        from pipeline.backends.onnxruntime import contents, convert, weight_only

        if recipe.method == "weight-only":
            save = partial(weight_only.quantize_model, out=out, settings=recipe.settings, progress=progress)
            convert.convert(checkpoint, form, out, save)
        elif recipe.method == "none":
            self.convert(checkpoint, form, out)
        else:
            return through_export(self, checkpoint, form, recipe, calibration, out, progress)
        return contents.statistics(out)

    def why_no_default_mode(self) -> str:
        return ""

    @contextmanager
    def open(self, build: Path, default_mode: bool = False) -> Iterator[LogitsSession]:
        from pipeline.backends.onnxruntime.files import is_static
        from pipeline.backends.onnxruntime.fixed.session import StaticDecoder
        from pipeline.backends.onnxruntime.session import OnnxSession
        from pipeline.harness.host import threads

        yield StaticDecoder(build, threads()) if is_static(build) else OnnxSession(build)

    def package(self, build: Path, checkpoint: Checkpoint, target: Mapping[str, Any], out: Path) -> None:
        from pipeline.backends.onnxruntime.files import copy_model, copy_side_files, set_providers

        copy_side_files(build, out)
        copy_model(build, out)
        if target.get("provider_options"):
            set_providers(out, target["provider_options"])

    def run_instruction(self, package: Path, name: str) -> str:
        from pipeline.backends.onnxruntime.files import is_static
        from pipeline.backends.onnxruntime.instruction import run_instruction

        return run_instruction(name, is_static(package))
