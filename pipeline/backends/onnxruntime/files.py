"""The files of an ONNX Runtime GenAI model folder."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.files import copy_file

MODEL, DATA, CONFIG = "model.onnx", "model.onnx.data", "genai_config.json"
VISION, EMBEDDING, VISION_PROCESSOR = "vision.onnx", "embedding.onnx", "vision_processor.json"  # of one that sees
PROMPT, TOKEN, FACTS = "prompt.onnx", "token.onnx", "static.json"  # graphs of fixed shapes, and their facts
SIGHT = (VISION, f"{VISION}.data", EMBEDDING, f"{EMBEDDING}.data", VISION_PROCESSOR)
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
    for name in (MODEL, PROMPT, TOKEN, DATA):
        if (source / name).is_file():
            copy_file(source / name, out / name)


def copy_side_files(source: Path, out: Path) -> None:
    """What the runtime needs beside the model."""
    for name in (CONFIG, FACTS, *SIGHT, *TOKENIZER):
        if (source / name).is_file():
            copy_file(source / name, out / name)


def is_fixed(folder: Path) -> bool:
    """Whether its graphs have fixed shapes, and ONNX Runtime itself runs them."""
    return (folder / FACTS).is_file()


def set_providers(folder: Path, options: list[dict[str, dict[str, str]]]) -> None:
    """Write a target's execution providers into genai_config.json, or into the facts of graphs of fixed shapes."""
    fixed = is_fixed(folder)
    path = folder / (FACTS if fixed else CONFIG)
    config = json.loads(path.read_text(encoding="utf-8"))
    (config if fixed else config["model"]["decoder"]["session_options"])["provider_options"] = options
    path.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")
