"""The files of an ONNX Runtime GenAI model folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

MODEL, DATA, CONFIG = "model.onnx", "model.onnx.data", "genai_config.json"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "vocab.json",
)


def copy_model(source: Path, out: Path) -> None:
    """The graph and its weights, copied: ONNX Runtime and onnx refuse links."""
    for name in (MODEL, DATA):
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def copy_side_files(source: Path, out: Path) -> None:
    """What the runtime needs beside the model."""
    for name in (CONFIG, *TOKENIZER):
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def set_providers(folder: Path, options: list[dict[str, dict[str, str]]]) -> None:
    """Write a target's execution providers into genai_config.json."""
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"]["decoder"]["session_options"]["provider_options"] = options
    path.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")
