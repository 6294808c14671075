"""The files of an ONNX Runtime GenAI model folder."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.files import copy_file
from pipeline.pictures.rows import MEDIA

MODEL, DATA, CONFIG = "model.onnx", "model.onnx.data", "genai_config.json"
TOWER, PROCESSOR, EMBEDDING = "{}.onnx", "{}_processor.json", "embedding.onnx"  # by modality, of one that has one
NO_VISION = "no_vision"  # of one that hears
PROMPT, TOKEN, FACTS = "prompt.onnx", "token.onnx", "static.json"  # graphs of fixed shapes, and their facts
BESIDE = (
    *(name.format(modality) for modality in MEDIA for name in (TOWER, f"{TOWER}.data", PROCESSOR)),
    *(EMBEDDING, f"{EMBEDDING}.data", TOWER.format(NO_VISION), PROCESSOR.format(NO_VISION)),
)
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
    for name in (CONFIG, FACTS, *BESIDE, *TOKENIZER):
        if (source / name).is_file():
            copy_file(source / name, out / name)


def modality_of(folder: Path) -> str:
    """Of a model folder with a tower's graph."""
    return next(modality for modality in MEDIA if (folder / TOWER.format(modality)).is_file())


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
