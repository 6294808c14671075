"""Teacher-forced logits of a GGUF file, through llama.cpp's library on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.llamacpp.files import model_file, read_gguf
from pipeline.backends.llamacpp.library import Model
from pipeline.harness.host import threads

F32, F16 = 0, 1  # enum ggml_type
OFF, AUTO = 0, -1  # enum llama_flash_attn_type
SEQUENCES = 64  # that one call may hold: a short one alone costs more in waiting threads than in work


class GgufSession:
    """A model whose cache starts empty at every call.

    Accuracy mode keeps the cache in fp32, without flash attention; by default llama.cpp keeps it in fp16.
    """

    def __init__(self, folder: Path, default_mode: bool = False) -> None:
        self._path = model_file(folder)
        read_gguf(self._path)
        cache, flash = (F16, AUTO) if default_mode else (F32, OFF)
        self._options = {"type_k": cache, "type_v": cache, "flash_attn_type": flash}
        self._model: Model | None = None
        self._length = 0
        self._sequences = 1 if default_mode else SEQUENCES  # users run one
        self.settings = {"kv_cache": "f16" if default_mode else "f32", "flash_attention": "auto" if flash else "off"}

    def logits(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits float32 [batch, length, vocab] of ids int64 [batch, length], from an empty cache."""
        _, length = ids.shape
        model, parts = self._open(length), []
        most = min(self._sequences, self._length // length)  # at a time: all share one context
        for first in range(0, len(ids), most):
            some = ids[first : first + most]
            model.decode(some)
            parts.append(model.logits(some.size).reshape(*some.shape, -1))
        return np.concatenate(parts)

    def close(self) -> None:
        if self._model:
            self._model.close()
        self._model = None

    def _open(self, length: int) -> Model:
        """The model with a context that holds `length` tokens; LongRoPE picks its factors by the context's size."""
        if self._model is None or length > self._length:
            self.close()
            size: dict[str, Any] = dict.fromkeys(("n_ctx", "n_batch", "n_ubatch"), length)
            count = dict.fromkeys(("n_threads", "n_threads_batch"), threads())
            shared = {"n_seq_max": min(self._sequences, length), "kv_unified": True}
            self._model, self._length = Model(self._path, {**size, **count, **shared, **self._options}), length
        return self._model
