"""ONNX exports of random models."""

from __future__ import annotations

from pathlib import Path

from pipeline.backends.onnxruntime.backend import OnnxRuntimeBackend
from pipeline.types import Checkpoint
from tests.support.tiny import tiny_config, write_checkpoint


def exported(root: Path) -> Path:
    """An fp32 export of a one-layer random model."""
    folder = write_checkpoint(root / "model")
    out = root / "export"
    out.mkdir()
    form = {"precision": "fp32", "provider": "cpu"}
    OnnxRuntimeBackend().convert(Checkpoint("tiny", folder, folder, tiny_config()), form, out)
    return out
