"""llama.cpp's shared library, quiet: what it says is kept for error messages."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactError

SAID: list[str] = []
KEPT = 200
_listeners: list[list[str]] = []


@cache
def library() -> Any:
    """The module of llama.cpp's C functions, initialized; its log goes to SAID."""
    from llama_cpp import llama_cpp as functions

    def keep(level: int, text: bytes, data: Any) -> None:
        line = text.decode(errors="replace")
        SAID.append(line.strip())
        del SAID[:-KEPT]
        for listener in _listeners:
            listener.append(line)

    functions.kept_log = functions.llama_log_callback(keep)  # it must outlive the library's use of it
    functions.llama_log_set(functions.kept_log, None)
    functions.llama_backend_init()
    return functions


@contextmanager
def listening() -> Iterator[list[str]]:
    """All that the library says in the meantime, as it says it: pieces of lines."""
    said: list[str] = []
    _listeners.append(said)
    try:
        yield said
    finally:
        _listeners.remove(said)


def last_said() -> str:
    """The library's last words that name a mistake."""
    lines = [line for line in SAID if line and not line.startswith(".")]
    mistakes = [
        line for line in lines if "error" in line.lower() or "fail" in line.lower() or "invalid" in line.lower()
    ]
    return (mistakes or lines or ["no message"])[-1]


class Model:
    """A loaded GGUF file and a context; freed by close."""

    def __init__(self, path: Path, context: dict[str, Any]) -> None:
        self._functions = functions = library()
        settings = functions.llama_model_default_params()
        settings.n_gpu_layers = 0
        self._model = functions.llama_model_load_from_file(str(path).encode(), settings)
        if not self._model:
            raise ArtifactError(f"llama.cpp cannot load it: {last_said()}", where=str(path))
        self.vocab = int(functions.llama_vocab_n_tokens(functions.llama_model_get_vocab(self._model)))
        parameters = functions.llama_context_default_params()
        for name, value in context.items():
            setattr(parameters, name, value)
        self.context = functions.llama_init_from_model(self._model, parameters)
        if not self.context:
            functions.llama_model_free(self._model)
            raise ArtifactError(f"llama.cpp cannot make a context: {last_said()}", where=str(path))

    def decode(self, ids: Any) -> None:
        """Run token ids [length], or sequences of one length [sequences, length], each from an empty cache.

        With logits for every position.
        """
        sequences = ids if getattr(ids, "ndim", 1) == 2 else [ids]
        count = sum(map(len, sequences))
        functions = self._functions
        functions.llama_memory_clear(functions.llama_get_memory(self.context), True)
        batch = functions.llama_batch_init(count, 0, 1)
        try:
            batch.n_tokens, i = count, 0
            for number, sequence in enumerate(sequences):
                for position, token in enumerate(sequence):
                    batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = int(token), position, 1, 1
                    batch.seq_id[i][0] = number
                    i += 1
            code = functions.llama_decode(self.context, batch)
        finally:
            functions.llama_batch_free(batch)
        if code:
            raise ArtifactError(f"llama_decode returned {code}: {last_said()}")

    def logits(self, length: int) -> Any:
        """The logits of the last decode, float32 [length, vocab]: a copy."""
        import numpy as np

        pointer = self._functions.llama_get_logits(self.context)
        flat = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(flat, shape=(length, self.vocab)).copy()

    def close(self) -> None:
        self._functions.llama_free(self.context)
        self._functions.llama_model_free(self._model)
