"""Teacher-forced logits of an ONNX decoder, by plain ONNX Runtime on the CPU provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.onnxruntime.files import CONFIG, EMBEDDING, MODEL
from pipeline.errors import ArtifactError, first_line
from pipeline.harness.host import threads

FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def opened(folder: Path, name: str) -> Any:
    """A graph of a model folder on the CPU provider. Raises ArtifactError where it cannot be loaded."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads()
    # threads that wait by spinning take the cores on which a window is scored
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # pybind's own exception types
        raise ArtifactError(f"ONNX Runtime cannot load it: {first_line(error)}", where=str(folder)) from error


class OnnxSession:
    """A decoder that is fed from an empty or a given past."""

    settings: Mapping[str, str] = {}

    def __init__(self, folder: Path) -> None:
        self._folder, self._session = folder, opened(folder, MODEL)
        self._embedding: Any = None  # of a decoder that sees or hears, when it is asked for
        decoder = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model"]["decoder"]
        self._head_size = int(decoder["head_size"])
        self._inputs = self._session.get_inputs()
        self._outputs = [output.name for output in self._session.get_outputs()]

    def logits(self, ids: NDArray[np.int64], seen: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Logits float32 [batch, length, vocab] of ids int64 [batch, length], from an empty cache.

        seen: what takes the places of a picture or sound, float32 [tokens, width], of a decoder that takes one.
        """
        out: NDArray[Any] = self._session.run(["logits"], self.feed(ids, seen=seen))[0]
        return out.astype(np.float32, copy=False)

    def _embedded(self, ids: NDArray[np.int64], seen: NDArray[np.float32] | None) -> NDArray[Any]:
        """Rows of the embedding [batch, length, width] of such a decoder; `seen` [tokens, width] in its places."""
        if self._embedding is None:
            self._embedding = opened(self._folder, EMBEDDING)
        words, features, *more = self._embedding.get_inputs()
        empty = np.zeros((0, features.shape[1]), np.float32)
        feed = {words.name: ids, features.name: empty if seen is None else seen, **{each.name: empty for each in more}}
        rows: NDArray[Any] = self._embedding.run(None, feed)[0]
        return rows

    def past_after(self, ids: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The key-value cache after ids, under the names of the inputs that take it."""
        values = dict(zip(self._outputs, self._session.run(None, self.feed(ids)), strict=True))
        return {name.replace("present", "past_key_values"): value for name, value in values.items() if name != "logits"}

    def feed(
        self,
        ids: NDArray[np.int64],
        past: dict[str, NDArray[Any]] | None = None,
        seen: NDArray[np.float32] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Inputs for ids after a `past` (empty when there is none)."""
        batch, length = ids.shape
        before = next(iter(past.values())).shape[2] if past else 0
        feed: dict[str, NDArray[Any]] = {}
        for entry in self._inputs:
            if entry.name == "input_ids":
                feed[entry.name] = ids.astype(np.int64, copy=False)
            elif entry.name == "inputs_embeds":
                feed[entry.name] = self._embedded(ids, seen)
            elif entry.name == "attention_mask":
                feed[entry.name] = np.ones((batch, before + length), np.int64)
            elif entry.name == "position_ids":
                feed[entry.name] = np.arange(before, before + length, dtype=np.int64)[None].repeat(batch, 0)
            elif past:
                feed[entry.name] = past[entry.name]
            else:
                feed[entry.name] = np.zeros((batch, entry.shape[1], 0, self._head_size), FLOATS[entry.type])
        return feed
