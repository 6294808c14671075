"""params.yaml, as it lies on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipeline import layout
from pipeline.errors import StaleParamsError
from pipeline.types import JSON

COMPOSE = "python -m pipeline compose"


def read_params(path: Path = layout.PARAMS) -> JSON:
    """The whole file. Raises ConfigError when it is missing or no composed file."""
    try:
        params = load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StaleParamsError("there is no params.yaml", hint=f"run: {COMPOSE}") from None
    except yaml.YAMLError as error:
        raise StaleParamsError(f"params.yaml is no YAML: {error}".replace("\n", " "), hint=f"run: {COMPOSE}") from None
    if not isinstance(params, dict) or not isinstance(params.get("plan"), dict):
        raise StaleParamsError("params.yaml has no plan", hint=f"run: {COMPOSE}")
    return params


def load_yaml(text: str) -> Any:
    """YAML by the quick reader, where it is there; safe in any case."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(text, Loader=loader)  # noqa: S506
