"""name → backend class, imported when it is used."""

from __future__ import annotations

from importlib import import_module

from pipeline.backends.base import Backend
from pipeline.errors import ConfigError, suggest

BACKENDS = {
    "onnxruntime": "pipeline.backends.onnxruntime.backend:OnnxRuntimeBackend",
    "openvino": "pipeline.backends.openvino.backend:OpenVinoBackend",
    "llamacpp": "pipeline.backends.llamacpp.backend:LlamaCppBackend",
    "mlx": "pipeline.backends.mlx.backend:MlxBackend",
}


def load_backend(name: str) -> Backend:
    """The backend of that name. Raises ConfigError with a suggestion for an unknown one."""
    if name not in BACKENDS:
        raise ConfigError(f"unknown backend '{name}'", hint=suggest(name, BACKENDS))
    module, _, attribute = BACKENDS[name].partition(":")
    backend: Backend = getattr(import_module(module), attribute)()
    return backend
