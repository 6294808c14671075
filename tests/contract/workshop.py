"""One backend at work on a one-layer random model, for the contract."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from pipeline.backends.base import Backend, Calibration
from pipeline.matrix.fallbacks import resolved
from pipeline.matrix.recipes import needs_calibration, parse_recipe
from pipeline.model.checkpoint import read_headers
from pipeline.types import Checkpoint, Family, Recipe
from tests.support.backends import order


@dataclass
class Workshop:
    """One backend at work on a one-layer random model; exports and builds are made once."""

    name: str
    backend: Backend
    conf: dict[str, Any]
    checkpoint: Checkpoint
    root: Path

    def calibration(self, recipe: Recipe) -> Calibration | None:
        """As planning has it: for the recipes that need data, and for no other."""
        needed = needs_calibration(recipe, self.conf["methods"])
        return Calibration(np.random.default_rng(0).integers(3, 2000, (4, 32))) if needed else None

    def recipe(self, family: str, name: str) -> Recipe:
        """As planning and a search have it: for this model's rows, and with a table of the widest formats."""
        where = f"{self.name}.{family}.{name}"
        made = parse_recipe(name, Family(family), self.conf["recipes"][family][name], where, self.conf["methods"])
        sizes: Any = SimpleNamespace(**self.checkpoint.config)
        made = resolved(made, sizes, self.conf.get("rows", {}))
        if made.settings.get("table") != "fit":
            return made
        shapes = {name: each.shape for name, each in read_headers(self.checkpoint.weights).items()}
        table = {name: made.settings["formats"][-1] for name, shape in shapes.items() if len(shape) == 2}
        return replace(made, settings={**made.settings, "table": table})

    def export(self, form: str, again: str = "") -> Path:
        out = self.root / f"export-{form}{again}"
        if not out.exists():
            out.mkdir()
            self.backend.convert(self.checkpoint, self.conf["forms"][form], out)
        return out

    def build(self, recipe: Recipe, again: str = "") -> tuple[Path, Any]:
        out = self.root / f"build-{recipe.family}-{recipe.name}{again}"
        fresh = not out.exists()
        if fresh:
            out.mkdir()
            data = self.calibration(recipe)
            stats = self.backend.quantize(self.export(recipe.form), order(recipe, out, data, self.checkpoint))
            self._stats = {**getattr(self, "_stats", {}), out.name: stats}
        return out, self._stats[out.name]


def reference_of(folder: Path, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Final hidden states and lm_head of transformers in fp32."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        hidden = model.model(input_ids=torch.from_numpy(ids), use_cache=False).last_hidden_state.numpy()
    return hidden, model.lm_head.weight.detach().numpy()
