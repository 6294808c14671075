"""A switchable adapter as OpenVINO GenAI takes it: one safetensors file, in PEFT's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline import layout
from pipeline.model.lowrank import LowRank

PREFIX = "base_model.model."  # PEFT's


def add_adapters(package: Path, adapters: Mapping[str, LowRank]) -> None:
    """A file for each."""
    folder = package / layout.ADAPTERS
    folder.mkdir()
    for name, adapter in adapters.items():
        write_adapter(adapter, folder / f"{name}.safetensors")


def write_adapter(adapter: LowRank, target: Path) -> None:
    """Write the file. It reads no adapter_config.json, so that the scale is multiplied into B."""
    from safetensors.numpy import save_file

    tensors = {}
    for module, factors in adapter.factors.items():
        tensors[f"{PREFIX}{module}.lora_A.weight"] = factors.a
        tensors[f"{PREFIX}{module}.lora_B.weight"] = factors.b * np.float32(adapter.scale)
    save_file(tensors, target, metadata={"format": "pt"})
