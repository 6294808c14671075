"""What people do to checkpoint folders: edits of a plain one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.support.tiny import write_checkpoint

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
HALF = 16  # rotated pairs of a head of the tiny model


def edit(path: Path, **changes: Any) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    found.update(changes)
    path.write_text(json.dumps({k: v for k, v in found.items() if v != "absent"}, ensure_ascii=False), encoding="utf-8")


def config(**changes: Any) -> Callable[[Path], None]:
    """config.json with other fields; `absent` takes one out."""
    return lambda folder: edit(folder / "config.json", **changes)


def shape(**changes: Any) -> Callable[[Path], None]:
    """A checkpoint whose weights are of these fields as well."""

    def make(folder: Path) -> None:
        write_checkpoint(folder, **changes)

    return make


def weights(change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    return make


def shards(folder: Path, single: bool = False, twice: bool = False) -> None:
    """Two shards with an index; the single file of other values stays beside them, or a tensor is in both."""
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    if twice:
        parts["model-00002-of-00002.safetensors"] = [*names[1::2], names[0]]
    for file, held in parts.items():
        save_file(
            {name: tensors[name] * (2 if single else 1) for name in held}, folder / file, metadata={"format": "pt"}
        )
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
    if not single:
        (folder / WEIGHTS).unlink()


def mixed(folder: Path) -> None:
    """A bf16 body with norms and head in fp32."""
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file as save

    tensors = load(folder / WEIGHTS)
    kept = {k: v if "norm" in k or "lm_head" in k else v.bfloat16() for k, v in tensors.items()}
    save(kept, folder / WEIGHTS, metadata={"format": "pt"})


def adapter(folder: Path, alone: bool = False) -> None:
    said = {"peft_type": "LORA", "base_model_name_or_path": "base", "r": 8, "target_modules": ["o_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(said), encoding="utf-8")
    if alone:
        (folder / WEIGHTS).unlink()
        (folder / "config.json").unlink()


def marked(*names: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in names:
            path = folder / name
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    return make


def truncating(folder: Path) -> None:
    cut = {"direction": "Right", "max_length": 20, "strategy": "LongestFirst", "stride": 0}
    edit(folder / "tokenizer.json", truncation=cut)


def long(**more: Any) -> dict[str, Any]:
    short = [1 + 0.05 * i for i in range(HALF)]
    return {"type": "longrope", "short_factor": short, "long_factor": [2 + 0.3 * i for i in range(HALF)], **more}
