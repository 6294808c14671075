"""name → backend, by convention: `pipeline.backends.<name>.backend` has a `BACKEND`, imported when it is used."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from pipeline.backends.base import Backend
from pipeline.errors import ConfigError, suggest


@cache
def backends() -> tuple[str, ...]:
    """The names of all backends: the folders here that have a backend.py."""
    return tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/backend.py")))


def load_backend(name: str) -> Backend:
    """The backend of that name. Raises ConfigError with a suggestion for an unknown one."""
    if name not in backends():
        raise ConfigError(f"unknown backend '{name}'", hint=suggest(name, backends()))
    backend: Backend = import_module(f"pipeline.backends.{name}.backend").BACKEND
    return backend
