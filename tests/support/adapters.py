"""PEFT adapters of random-weight checkpoints, written by PEFT itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def train(base: Path, out: Path, resize: int = 0, seed: int = 0, **settings: Any) -> Any:
    """An adapter with random values, saved in `out`; the PEFT model that it is of, in evaluation mode."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(seed)
    if resize:
        model.resize_token_embeddings(model.config.vocab_size + resize, mean_resizing=False)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "lora_alpha": 8, **settings}))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.02
    adapted.save_pretrained(out)
    return adapted.eval()


def by_hand(base: Path, out: Path, modules: dict[str, tuple[int, int]], seed: int = 0, **said: Any) -> Path:
    """An adapter without PEFT: factors of rank 4 for modules of these rows and columns."""
    random = np.random.default_rng(seed)
    tensors = {}
    for module, (rows, columns) in modules.items():
        for letter, shape in (("A", (4, columns)), ("B", (rows, 4))):
            name = f"base_model.model.{module}.lora_{letter}.weight"
            tensors[name] = random.normal(0, 0.05, shape).astype(np.float32)
    out.mkdir(parents=True, exist_ok=True)
    names = sorted({module.rpartition(".")[2] for module in modules})
    config = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": 4, "lora_alpha": 8}
    (out / CONFIG).write_text(json.dumps({**config, "target_modules": names, "bias": "none", **said}), encoding="utf-8")
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    return out


def retrained(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    """An edit of an adapter's tensors."""

    def make(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    return make
