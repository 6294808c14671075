"""Adapters beside a package's model, which its runtime switches: what is said of them, and on which card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.model.adapter import WEIGHTS, Adapter
from pipeline.model.checkpoint import ADAPTER
from pipeline.model.licence_files import card_licence
from pipeline.packaging.manifest import sha256
from pipeline.types import JSON


def described(adapter: Adapter) -> JSON:
    """What a manifest says of an adapter; of the base that it names, a hub id, or a folder's name."""
    base = str(adapter.config.get("base_model_name_or_path") or "")
    return {
        "source": adapter.folder.resolve().name,
        "base": Path(base).name if Path(base).exists() else base,
        "method": "DoRA" if adapter.config.get("use_dora") else "LoRA",
        "rank": adapter.config["r"],
        "alpha": adapter.config["lora_alpha"],
        "license": card_licence(adapter.folder),
        "sha256": {name: sha256(adapter.folder / name) for name in (ADAPTER, WEIGHTS)},
    }


def section(manifest: Mapping[str, Any]) -> str:
    """The card's section on a package's adapters; empty where it has none."""
    adapters = manifest.get("adapters") or {}
    if not adapters:
        return ""
    lines = []
    for name, said in sorted(adapters.items()):
        licence = f", under {said['license']}" if said.get("license") else ""
        lines.append(f"- `{name}`: {said['method']} `{said['source']}`, rank {said['rank']}{licence}")
    listed = "\n".join(lines)
    said = "".join(
        f"\nWith `{name}`, the same question is answered:\n\n{_quoted(adapters[name]['said'])}"
        for name in sorted(adapters)
        if adapters[name].get("said")
    )
    return f"## Adapters\n\nWithout one of them, the base answers.\n\n{listed}\n\n{manifest['switch'].strip()}\n{said}"


def _quoted(text: str) -> str:
    return "".join(f"> {line}\n" for line in text.splitlines())
