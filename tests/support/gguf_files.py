"""GGUF files of random models, and what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf

from pipeline.backends.base import Calibration
from pipeline.backends.llamacpp.backend import LlamaCppBackend
from pipeline.types import Checkpoint, Family, Recipe
from tests.support.backends import order
from tests.support.tiny import tiny_config, write_checkpoint

LONGROPE = {
    "max_position_embeddings": 2048,
    "original_max_position_embeddings": 256,
    "rope_scaling": {
        "type": "longrope",
        "rope_type": "longrope",
        "short_factor": [1.0 + i / 100 for i in range(16)],
        "long_factor": [2.0 + i for i in range(16)],
        "original_max_position_embeddings": 256,
    },
    "rope_theta": 50000.0,
}


def checkpoint_in(root: Path, **changes: Any) -> Checkpoint:
    folder = write_checkpoint(root / "model", **changes)
    return Checkpoint("tiny", folder, folder, tiny_config(**changes))


def converted(root: Path, kind: str = "F32", **changes: Any) -> Path:
    out = root / "export"
    out.mkdir()
    LlamaCppBackend().convert(checkpoint_in(root, **changes), {"type": kind}, out)
    return out


def build(export: Path, out: Path, calibration: Calibration | None = None, **settings: Any) -> Any:
    out.mkdir(exist_ok=True)
    recipe = Recipe("test", Family.INT4, "gguf", "fp32", settings)
    return LlamaCppBackend().quantize(export, order(recipe, out, calibration))


def contents(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    reader = gguf.GGUFReader(next(folder.glob("*.gguf")))
    keys = {name: (field.types, field.contents()) for name, field in reader.fields.items()}
    tensors = {t.name: (t.tensor_type, tuple(t.shape), t.data.tobytes()) for t in reader.tensors}
    return keys, tensors
