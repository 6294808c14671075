"""The files of an OpenVINO GenAI model folder, and how they are read and written."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactError
from pipeline.files import copy_file

MODEL, WEIGHTS = "openvino_model.xml", "openvino_model.bin"
SIDE_FILES = (
    "config.json",
    "generation_config.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "openvino_tokenizer.xml",
    "openvino_tokenizer.bin",
    "openvino_detokenizer.xml",
    "openvino_detokenizer.bin",
)
# What the weights are worth: by default the plugin computes in bf16 where the CPU can, quantizes activations in
# groups of 32 before a compressed MatMul, and keeps the cache in 8 bits.
ACCURACY = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
}
NAMES = re.compile(r' (?:output_)?names?="[^"]*"')
MADE_UP = re.compile(r"(?<=[\",])([A-Z][A-Za-z0-9]*)_(\d+)(?=[\",.])")


def copy_files(source: Path, out: Path, names: tuple[str, ...]) -> None:
    for name in names:
        if (source / name).is_file():
            copy_file(source / name, out / name)


def read_model(folder: Path) -> Any:
    """The IR as a model. Raises ArtifactError for a missing or cut one."""
    import openvino

    if not (folder / WEIGHTS).is_file():
        raise ArtifactError(f"{WEIGHTS} is missing", where=str(folder), hint="dvc repro makes it")
    try:
        return openvino.Core().read_model(folder / MODEL)
    except RuntimeError as error:
        raise ArtifactError(f"OpenVINO cannot read it: {last_line(error)}", where=str(folder)) from error


def save_model(model: Any, path: Path) -> None:
    """Write IR and weights, byte for byte the same in every process.

    OpenVINO numbers the names that it makes up from a counter of the process; here each kind counts from 0 in
    the order of the file. Names that come from the checkpoint and of the graph's ports stay.
    """
    import openvino

    model.set_friendly_name("model")
    openvino.save_model(model, path, compress_to_fp16=False)
    numbers: dict[str, dict[str, int]] = defaultdict(dict)

    def renumber(found: re.Match[str]) -> str:
        kind = numbers[found[1]]
        return f"{found[1]}_{kind.setdefault(found[2], len(kind))}"

    text = path.read_text(encoding="utf-8")
    text = NAMES.sub(lambda names: MADE_UP.sub(renumber, names[0]), text)
    path.write_text(text, encoding="utf-8", newline="\n")


def last_line(error: BaseException) -> str:
    """What OpenVINO says after the places in its source where it says so."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (told or lines or ["no message"])[-1]
