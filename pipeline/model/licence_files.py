"""The licence that lies beside a checkpoint: its files, and its id in the front matter of the model's own card."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.files import copy_file

NAMES = re.compile(r"(?i)^(licen[cs]e|notice|copying|use_policy)([._-].*)?$")
CARD = "README.md"
FRONT = re.compile(r"\A\ufeff?---\s*\n(.*?)\n---\s*(\n|\Z)", re.DOTALL)
LARGEST = 1_000_000  # bytes; a licence is a text


def copy_licence(source: Path, folder: Path, suffix: str = "") -> list[str]:
    """Copy the licence's files, each with `suffix` at the end of its name; their names there, sorted."""
    found = [path for path in sorted(source.iterdir()) if NAMES.match(path.name) and path.is_file()]
    found = [path for path in found if path.stat().st_size <= LARGEST]
    for path in found if source != folder else ():
        copy_file(path, folder / f"{path.name}{suffix}")
    return [f"{path.name}{suffix}" for path in found]


def card_licence(source: Path) -> str:
    """The licence in the front matter of the folder's README.md, as the hub reads it; empty where it says none.

    `other` gives its `license_name`.
    """
    path = source / CARD
    front = FRONT.match(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else None
    if front is None:
        return ""
    import yaml

    try:
        said = yaml.safe_load(front[1])
    except yaml.YAMLError:
        return ""
    if not isinstance(said, dict):
        return ""
    licence = said.get("license_name") if said.get("license") == "other" else said.get("license")
    return licence.strip().lower() if isinstance(licence, str) else ""
