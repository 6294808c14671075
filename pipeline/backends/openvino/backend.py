"""OpenVINO as a backend: each method's work has a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Backend, Contents, Form, LogitsSession, Method, SightSession
from pipeline.model.lowrank import LowRank
from pipeline.types import Checkpoint


class OpenVinoBackend(Backend):
    name = "openvino"
    has_default_mode = True

    def methods(self) -> Mapping[str, Method]:
        from pipeline.backends.openvino.mixed import mixed
        from pipeline.backends.openvino.nncf import compressed, method, quantized

        return {"nncf": method(compressed), "nncf-ptq": method(quantized), "mixed": method(mixed)}

    def convert(self, checkpoint: Checkpoint, form: Form, out: Path) -> None:
        from pipeline.backends.openvino.convert import convert

        convert(checkpoint, form, out)

    def copy(self, export: Path, out: Path) -> None:
        from pipeline.backends.openvino.files import SIDE_FILES, copy_files, decoder_of, weights_of

        decoder = decoder_of(export)
        copy_files(export, out, (decoder, weights_of(decoder), *SIDE_FILES))

    def contents(self, folder: Path) -> Contents:
        from pipeline.backends.openvino.contents import contents

        return contents(folder)

    @contextmanager
    def open(self, build: Path, default_mode: bool = False) -> Iterator[LogitsSession]:
        from pipeline.backends.openvino.session import OpenVinoSession

        yield OpenVinoSession(build, default_mode)

    @contextmanager
    def open_sight(self, build: Path, default_mode: bool = False) -> Iterator[SightSession]:
        from pipeline.backends.openvino.pictures.session import OpenVinoSight

        yield OpenVinoSight(build, default_mode)

    def pack_tower(self, folder: Path, bits: int) -> None:
        from pipeline.backends.openvino.pictures.packed import pack_tower

        pack_tower(folder, bits)

    def package(self, build: Path, checkpoint: Checkpoint, target: Mapping[str, Any], out: Path) -> None:
        self.copy(build, out)

    def fitted(
        self, form: Form, name: str, rows: NDArray[np.float32], moments: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        from pipeline.backends.openvino.mixed import fitted

        return fitted(name, rows, moments)

    def stored_bits(self, form: Form, name: str, inputs: int, outputs: int) -> int | None:
        from pipeline.backends.openvino.mixed import stored_bits

        return stored_bits(name, inputs, outputs)

    def add_adapters(self, package: Path, config: Mapping[str, Any], adapters: Mapping[str, LowRank]) -> None:
        from pipeline.backends.openvino.adapters import add_adapters

        add_adapters(package, adapters)

    def switch_instruction(self, name: str, prompt: str, adapters: Sequence[str]) -> str:
        from pipeline.backends.openvino.instruction import switch_instruction

        return switch_instruction(name, prompt, adapters)

    def run_instruction(self, package: Path, name: str, prompt: str, file: str = "") -> str:
        from pipeline.backends.openvino.instruction import of_picture, run_instruction

        return of_picture(name, prompt, file) if file else run_instruction(name, prompt)


BACKEND = OpenVinoBackend()
