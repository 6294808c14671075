"""params.yaml and the plan beside it, as they lie on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipeline import layout
from pipeline.errors import StaleParamsError
from pipeline.types import JSON

COMPOSE = "python -m pipeline compose"


def read_params(path: Path = layout.PARAMS) -> JSON:
    """The whole file. Raises StaleParamsError when it is missing or no composed file."""
    params = _read(path, layout.PARAMS)
    if "plan" not in params:
        raise StaleParamsError("params.yaml names no plan", hint=f"run: {COMPOSE}")
    return params


def read_templates(root: Path = Path()) -> JSON:
    """What dvc.yaml's templates fill in: the plan's groups. Raises StaleParamsError when there is none."""
    return _read(root / layout.PLAN, layout.PLAN)


def _read(path: Path, name: Path) -> JSON:
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StaleParamsError(f"there is no {name}", hint=f"run: {COMPOSE}") from None
    except yaml.YAMLError as error:
        raise StaleParamsError(f"{name} is no YAML: {error}".replace("\n", " "), hint=f"run: {COMPOSE}") from None
    if not isinstance(content, dict):
        raise StaleParamsError(f"{name} holds no keys", hint=f"run: {COMPOSE}")
    return content


def load_yaml(text: str) -> Any:
    """YAML by the quick reader, where it is there; safe in any case."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(text, Loader=loader)  # noqa: S506
