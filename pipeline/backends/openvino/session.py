"""Teacher-forced logits of a stateful IR on the CPU, in accuracy mode or as users get it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.openvino.files import ACCURACY, last_line, read_model
from pipeline.errors import ArtifactError
from pipeline.harness.host import threads


def opened(folder: Path, name: str = "", default_mode: bool = False) -> Any:
    """An IR of a model folder, the decoder if none is named, compiled. Raises ArtifactError where it cannot be."""
    import openvino

    model = read_model(folder, name)
    settings = {"INFERENCE_NUM_THREADS": str(threads()), **({} if default_mode else ACCURACY)}
    try:
        return openvino.Core().compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise ArtifactError(f"OpenVINO cannot compile it: {last_line(error)}", where=str(folder)) from error


class OpenVinoSession:
    """A compiled decoder whose state starts empty at every call."""

    def __init__(self, folder: Path, default_mode: bool = False) -> None:
        compiled = opened(folder, default_mode=default_mode)
        self._inputs = {name for port in compiled.inputs for name in port.names}
        self._request = compiled.create_infer_request()
        self.settings = {name.lower(): _plain(compiled.get_property(name)) for name in ACCURACY}

    def logits(self, ids: NDArray[np.int64], embedded: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Logits float32 [batch, length, vocab] of ids int64 [batch, length], from an empty cache.

        embedded: what a decoder that sees is given of them, float32 [batch, length, width].
        """
        inputs = feed(ids) if embedded is None else {**feed(ids), "inputs_embeds": embedded}
        self._request.reset_state()
        self._request.infer({name: value for name, value in inputs.items() if name in self._inputs})
        out: NDArray[Any] = self._request.get_tensor("logits").data
        return out.astype(np.float32)


def feed(ids: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Inputs for ids int64 [batch, length] after an empty cache."""
    batch, length = ids.shape
    return {
        "input_ids": ids.astype(np.int64, copy=False),
        "attention_mask": np.ones((batch, length), np.int64),
        "position_ids": np.arange(length, dtype=np.int64)[None].repeat(batch, 0),
        "beam_idx": np.arange(batch, dtype=np.int32),
    }


def _plain(value: Any) -> str:
    text = str(value)
    return text.removeprefix("<Type: '").removesuffix("'>")
