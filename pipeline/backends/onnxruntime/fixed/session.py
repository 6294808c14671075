"""A decoder of fixed shapes, run by ONNX Runtime alone: in chunks for a prompt, token by token behind it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.onnxruntime.files import FACTS, PROMPT, TOKEN
from pipeline.errors import ArtifactError, DataError, first_line


class FixedDecoder:
    """Both graphs with one cache, which is float32 [1, kv_heads, context, head_size], filled from its end."""

    settings: Mapping[str, str] = {}

    def __init__(self, folder: Path, threads: int, device: bool = False) -> None:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        self.context, self.chunk, self._window = facts["context"], facts["chunk"], facts["sliding_window"]
        self._masked = facts["masked"]
        self._cache_shape = (1, facts["kv_heads"], self.context, facts["head_size"])
        providers = _providers(facts) if device else ["CPUExecutionProvider"]
        self._prompt, self._token = (_session(folder / name, threads, providers) for name in (PROMPT, TOKEN))
        inputs, outputs = self._prompt.get_inputs(), self._prompt.get_outputs()
        self._names = [entry.name for entry in inputs[3:]]
        self._outputs = [entry.name for entry in outputs]
        self.reset()

    def reset(self) -> None:
        self._length = 0
        self._cache = {name: np.zeros(self._cache_shape, np.float32) for name in self._names}

    def logits(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits float32 [batch, length, vocab] of ids int64 [batch, length], each row from an empty cache."""
        rows = []
        for row in ids:
            self.reset()
            rows.append(self.append(row))
        return np.stack(rows)

    def generate(self, prompt: Sequence[int], count: int) -> tuple[list[int], float, float]:
        """Greedy tokens, seconds to the first one, and seconds in all."""
        self.reset()
        begun = time.perf_counter()
        tokens = [int(self.append(np.asarray(prompt, np.int64))[-1].argmax())]
        first = time.perf_counter() - begun
        while len(tokens) < count:
            tokens.append(int(self.append(np.array(tokens[-1:]))[-1].argmax()))
        return tokens, first, time.perf_counter() - begun

    def append(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits [length, vocab] of ids behind what is in the cache."""
        return np.concatenate([logits for _, logits in self.steps(ids)])

    def steps(self, ids: NDArray[np.int64]) -> Iterator[tuple[dict[str, NDArray[Any]], NDArray[np.float32]]]:
        """(inputs, logits [new, vocab]) of each run of a graph."""
        if self._length + len(ids) > self.context:
            raise DataError(
                f"{self._length + len(ids)} tokens, the package holds {self.context}",
                hint="set backend.onnxruntime.forms.qnn.context",
            )
        at = 0
        while at < len(ids):
            whole = len(ids) - at > 1 and self._length + self.chunk <= self.context
            size = self.chunk if whole else 1
            new = ids[at : at + size]
            feed = self._feed(new, size)
            values = (self._prompt if whole else self._token).run(self._outputs, feed)
            self._remember(dict(zip(self._outputs, values, strict=True)), len(new))
            at += len(new)
            yield feed, values[0][0, : len(new)]

    def _feed(self, new: NDArray[np.int64], size: int) -> dict[str, NDArray[Any]]:
        padded = np.zeros(size, np.int64)
        padded[: len(new)] = new
        queries = self._length + np.arange(size)
        keys = np.concatenate([self._length + np.arange(size - self.context, 0), queries])
        seen = (keys >= 0) & (keys <= queries[:, None])
        if self._window:
            seen &= keys > queries[:, None] - self._window
        return {
            "input_ids": padded[None],
            "attention_mask": np.where(seen, 0.0, self._masked).astype(np.float32)[None, None],
            "position_ids": np.minimum(queries, self.context - 1)[None],
            **{name: cache[:, :, size:] for name, cache in self._cache.items()},
        }

    def _remember(self, values: Mapping[str, NDArray[Any]], count: int) -> None:
        for name, cache in self._cache.items():
            present = values[name.replace("past_key_values", "present")]
            self._cache[name] = np.concatenate([cache[:, :, count:], present[:, :, :count]], axis=2)
        self._length += count


def _providers(facts: Mapping[str, Any]) -> list[Any]:
    """The target's providers by ONNX Runtime's names, and the CPU's behind them."""
    names = {"qnn": "QNNExecutionProvider"}
    chosen = [(names[name], options) for entry in facts["provider_options"] for name, options in entry.items()]
    return [*chosen, "CPUExecutionProvider"]


def _session(path: Path, threads: int, providers: list[Any]) -> Any:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    missing = [p for p in (entry[0] for entry in providers[:-1]) if p not in onnxruntime.get_available_providers()]
    if missing:
        raise ArtifactError(
            f"this onnxruntime has no {missing[0]}", where=str(path), hint="pip install onnxruntime-qnn"
        )
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # pybind's own exception types
        raise ArtifactError(f"ONNX Runtime cannot load it: {first_line(error)}", where=str(path)) from error
