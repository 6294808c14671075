"""A switchable adapter as mlx-lm takes it: a folder like those that `mlx_lm.lora` leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import layout
from pipeline.files import write_json
from pipeline.model.lowrank import LowRank


def add_adapters(package: Path, config: Mapping[str, Any], adapters: Mapping[str, LowRank]) -> None:
    """A folder for each."""
    for name, adapter in adapters.items():
        write_adapter(adapter, config, package / layout.ADAPTERS / name)


def write_adapter(adapter: LowRank, config: Mapping[str, Any], target: Path) -> None:
    """Write the folder `target`. mlx-lm multiplies from the left: x · A · B, times a scale."""
    from safetensors.numpy import save_file

    target.mkdir(parents=True)
    tensors = {}
    for module, factors in adapter.factors.items():
        tensors[f"{module}.lora_a"] = np.ascontiguousarray(factors.a.T)
        tensors[f"{module}.lora_b"] = np.ascontiguousarray(factors.b.T)
    save_file(tensors, target / "adapters.safetensors", metadata={"format": "mlx"})
    parameters = {"rank": adapter.rank, "scale": adapter.scale, "dropout": 0.0, "keys": list(adapter.factors)}
    said = {"fine_tune_type": "lora", "num_layers": config["num_hidden_layers"], "lora_parameters": parameters}
    write_json(target / "adapter_config.json", said)
