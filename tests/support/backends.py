"""Backends as their YAML describes them, and orders for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipeline.backends.base import Calibration, Order
from pipeline.types import Checkpoint, Recipe
from tests.support.tiny import ROOT


def conf_of(name: str) -> dict[str, Any]:
    """conf/backend/<name>.yaml, with the schema's defaults where it says nothing."""
    conf = yaml.safe_load((ROOT / "conf" / "backend" / f"{name}.yaml").read_text(encoding="utf-8"))[name]
    conf["methods"] = {
        method: {"words": {}, "limits": [], "calibrates": [], "draws": [], **said}
        for method, said in conf["methods"].items()
    }
    for method in conf["methods"].values():
        method["limits"] = [{"only": [], "takes": {}, **limit} for limit in method["limits"]]
    return conf


def order(
    recipe: Recipe, out: Path, calibration: Calibration | None = None, checkpoint: Checkpoint | None = None
) -> Order:
    """An order whose progress nobody watches."""
    return Order(recipe, calibration, out, lambda *_: None, 0, checkpoint)
