"""llama.cpp as a backend: each method's work has a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Backend, Contents, Form, LogitsSession, Method
from pipeline.backends.texts import Texts
from pipeline.files import copy_file
from pipeline.model.lowrank import LowRank
from pipeline.types import Checkpoint, Recipe


class LlamaCppBackend(Backend):
    name = "llamacpp"
    has_default_mode = True
    unread = ("Modelfile",)  # Ollama's; those of adapters are of no build

    def methods(self) -> Mapping[str, Method]:
        from pipeline.backends.llamacpp import mixed, quantize, stream

        return {"gguf": Method(quantize.quantize, stream.stream), "mixed": Method(mixed.quantize, mixed.stream)}

    def streams(self, form: Form, recipe: Recipe) -> bool:
        """llama.cpp's script writes a whole file; an importance matrix is collected by running one."""
        return not form.get("root") and recipe.settings.get("imatrix") != "calibration"

    def fitted(
        self, form: Form, name: str, rows: NDArray[np.float32], moments: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        from pipeline.backends.llamacpp.mixed import fitted

        return fitted(name, rows, moments)

    def stored_bits(self, form: Form, name: str, inputs: int, outputs: int) -> int | None:
        from pipeline.backends.llamacpp.mixed import stored_bits

        return stored_bits(name, inputs, outputs)

    def convert(self, checkpoint: Checkpoint, form: Form, out: Path) -> None:
        from pipeline.backends.llamacpp.convert import convert

        convert(checkpoint, form, out)

    def copy(self, export: Path, out: Path) -> None:
        from pipeline.backends.llamacpp.files import MODEL, model_file

        copy_file(model_file(export), out / MODEL)

    def contents(self, folder: Path) -> Contents:
        from pipeline.backends.llamacpp.contents import contents

        return contents(folder)

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

    def add_adapters(self, package: Path, config: Mapping[str, Any], adapters: Mapping[str, LowRank]) -> None:
        from pipeline.backends.llamacpp.adapters import add_adapters

        add_adapters(package, config, adapters)

    def switch_instruction(self, name: str, prompt: str, adapters: Sequence[str]) -> str:
        from pipeline.backends.llamacpp.package import switch_instruction

        return switch_instruction(name, prompt, adapters)

    def texts(self, package: Path) -> Texts:
        from pipeline.backends.llamacpp.texts import GgufTexts

        return GgufTexts(package)

    def run_instruction(self, package: Path, name: str, prompt: str, file: str = "") -> str:
        from pipeline.backends.llamacpp.package import run_instruction

        return run_instruction(name, prompt)


BACKEND = LlamaCppBackend()
