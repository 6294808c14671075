"""Teacher-forced logits of an ONNX decoder, by plain ONNX Runtime on the CPU provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.onnxruntime.files import CONFIG, MODEL
from pipeline.errors import ArtifactError, first_line
from pipeline.harness.host import threads

FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxSession:
    """A decoder that is fed from an empty or a given past."""

    settings: Mapping[str, str] = {}

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads()
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / MODEL), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # pybind's own exception types
            raise ArtifactError(f"ONNX Runtime cannot load it: {first_line(error)}", where=str(folder)) from error
        decoder = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model"]["decoder"]
        self._head_size = int(decoder["head_size"])
        self._inputs = self._session.get_inputs()
        self._outputs = [output.name for output in self._session.get_outputs()]

    def logits(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits float32 [batch, length, vocab] of ids int64 [batch, length], from an empty cache."""
        out: NDArray[Any] = self._session.run(["logits"], self.feed(ids))[0]
        return out.astype(np.float32, copy=False)

    def past_after(self, ids: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The key-value cache after ids, under the names of the inputs that take it."""
        values = dict(zip(self._outputs, self._session.run(None, self.feed(ids)), strict=True))
        return {name.replace("present", "past_key_values"): value for name, value in values.items() if name != "logits"}

    def feed(self, ids: NDArray[np.int64], past: dict[str, NDArray[Any]] | None = None) -> dict[str, NDArray[Any]]:
        """Inputs for ids after a `past` (empty when there is none)."""
        batch, length = ids.shape
        before = next(iter(past.values())).shape[2] if past else 0
        feed: dict[str, NDArray[Any]] = {}
        for entry in self._inputs:
            if entry.name == "input_ids":
                feed[entry.name] = ids.astype(np.int64, copy=False)
            elif entry.name == "attention_mask":
                feed[entry.name] = np.ones((batch, before + length), np.int64)
            elif entry.name == "position_ids":
                feed[entry.name] = np.arange(before, before + length, dtype=np.int64)[None].repeat(batch, 0)
            elif past:
                feed[entry.name] = past[entry.name]
            else:
                feed[entry.name] = np.zeros((batch, entry.shape[1], 0, self._head_size), FLOATS[entry.type])
        return feed
