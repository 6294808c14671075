"""ONNX Runtime as a backend: each method's work has a file of its own, graphs of fixed shapes a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Backend, Contents, Form, LogitsSession, Method, Order, SightSession
from pipeline.backends.texts import FolderTexts, Texts
from pipeline.errors import ConfigError
from pipeline.files import read_json
from pipeline.model.lowrank import LowRank
from pipeline.types import Checkpoint, QuantizationStats


class OnnxRuntimeBackend(Backend):
    name = "onnxruntime"

    def methods(self) -> Mapping[str, Method]:
        from pipeline.backends.onnxruntime import integer, nncf, weight_only
        from pipeline.backends.onnxruntime.fixed import qdq

        return {
            "weight-only": Method(weight_only.quantize, weight_only.stream),
            "dynamic": Method(integer.quantize_dynamic),
            "static": Method(integer.quantize_static),
            "nncf": Method(nncf.compress),
            "qdq": Method(qdq.quantize),
        }

    def convert(self, checkpoint: Checkpoint, form: Form, out: Path) -> None:
        if form.get("shapes") == "fixed":
            from pipeline.backends.onnxruntime.fixed.convert import convert as convert_fixed

            convert_fixed(checkpoint, form, out)
        else:
            from pipeline.backends.onnxruntime.convert import convert

            convert(checkpoint, form, out)

    def quantize(self, export: Path, order: Order) -> QuantizationStats:
        from pipeline.backends.onnxruntime.files import copy_side_files

        copy_side_files(export, order.out)
        return super().quantize(export, order)

    def copy(self, export: Path, out: Path) -> None:
        from pipeline.backends.onnxruntime.files import copy_model

        copy_model(export, out)

    def contents(self, folder: Path) -> Contents:
        from pipeline.backends.onnxruntime.contents import contents

        return contents(folder)

    @contextmanager
    def open(self, build: Path, default_mode: bool = False) -> Iterator[LogitsSession]:
        from pipeline.backends.onnxruntime.files import is_fixed
        from pipeline.backends.onnxruntime.fixed.session import FixedDecoder
        from pipeline.backends.onnxruntime.session import OnnxSession
        from pipeline.harness.host import threads

        yield FixedDecoder(build, threads()) if is_fixed(build) else OnnxSession(build)

    @contextmanager
    def open_sight(self, build: Path, default_mode: bool = False) -> Iterator[SightSession]:
        from pipeline.backends.onnxruntime.pictures.session import OnnxSight

        yield OnnxSight(build)

    def pack_tower(self, folder: Path, bits: int) -> None:
        from pipeline.backends.onnxruntime.pictures.packed import pack_tower

        pack_tower(folder, bits)

    def package(self, build: Path, checkpoint: Checkpoint, target: Mapping[str, Any], out: Path) -> None:
        from pipeline.backends.onnxruntime.files import copy_side_files, set_providers

        copy_side_files(build, out)
        self.copy(build, out)
        if target.get("provider_options"):
            set_providers(out, target["provider_options"])

    def fitted(
        self, form: Form, name: str, rows: NDArray[np.float32], moments: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        from pipeline.backends.onnxruntime.calibrated import quantized
        from pipeline.backends.onnxruntime.formats import FLOAT

        if name == FLOAT:
            return rows
        return np.ascontiguousarray(quantized(np.ascontiguousarray(rows.T), moments, name).values().T)

    def stored_bits(self, form: Form, name: str, inputs: int, outputs: int) -> int | None:
        from pipeline.backends.onnxruntime.formats import stored_bits

        return stored_bits(name, inputs, outputs, 32 if form["precision"] == "fp32" else 16)

    def texts(self, package: Path) -> Texts:
        from pipeline.backends.onnxruntime.files import CONFIG, is_fixed

        if is_fixed(package):
            raise ConfigError(
                "graphs of fixed shapes say neither where an answer ends nor how a chat is written",
                where=str(package),
                hint="ask another package of the model",
            )
        return FolderTexts(package, read_json(package / CONFIG)["model"])

    def add_adapters(self, package: Path, config: Mapping[str, Any], adapters: Mapping[str, LowRank]) -> None:
        from pipeline.backends.onnxruntime.adapters import add_adapters

        add_adapters(package, adapters)

    def switch_instruction(self, name: str, prompt: str, adapters: Sequence[str]) -> str:
        from pipeline.backends.onnxruntime.instruction import switch_instruction

        return switch_instruction(name, prompt, adapters)

    def run_instruction(self, package: Path, name: str, prompt: str, file: str = "") -> str:
        from pipeline.backends.onnxruntime.files import CONFIG, is_fixed, modality_of
        from pipeline.backends.onnxruntime.instruction import of_medium, run_instruction
        from pipeline.backends.onnxruntime.pictures.parts import TYPES

        if not file:
            return run_instruction(name, prompt, is_fixed(package))
        said = (read_json(package / CONFIG)["model"]["type"], modality_of(package))
        return of_medium(name, prompt, file, next(kind for kind, its in TYPES.items() if (its, kind.modality) == said))


BACKEND = OnnxRuntimeBackend()
