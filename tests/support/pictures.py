"""The shipped model that sees, edited."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from pipeline.entries import Fetch
from pipeline.pictures.media import Seen
from pipeline.pictures.tower import features, load_tower
from stages.fetch.fetch import fetch
from tests.support.tiny import ROOT

SHIPPED = ROOT / "models" / "phi-tiny-vision"
PICTURES = ROOT / "data" / "pictures"


def edited(folder: Path, tensors: Callable[[dict[str, Any]], None] = lambda held: None, **config: Any) -> Path:
    """A copy whose tensors were changed in place, and fields of its config.json."""
    shutil.copytree(SHIPPED, folder)
    held = load_file(folder / "model.safetensors")
    tensors(held)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    said = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**said, **config}), encoding="utf-8")
    return folder


def fetched(source: Path, out: Path, modality: str = "vision") -> Path:
    """The canonical folder that fetch makes of a checkpoint."""
    out.mkdir(parents=True)
    entry = Fetch(path=str(source), repo="", revision="", trust_remote_code=False, modality=modality)
    manifest = fetch(out.name, entry, out)
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return out


def assert_sees(sight: Any, model: Path, seen: Seen, within: float) -> None:
    """A build's own tower and projector give what transformers' give of the same picture or sound."""
    own, its = sight.seen(seen), features(load_tower(model), seen)
    assert own.shape == its.shape == (seen.tokens, its.shape[1])
    assert abs(own - its).max() < within
