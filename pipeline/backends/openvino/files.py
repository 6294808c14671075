"""The files of an OpenVINO GenAI model folder, and how they are read and written."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactError
from pipeline.files import copy_file

MODEL = "openvino_model.xml"
# of one that sees: the decoder by another name, and what lies beside it
LANGUAGE, EMBEDDING = "openvino_language_model.xml", "openvino_text_embeddings_model.xml"
TOWER, PROJECTOR = "openvino_vision_embeddings_model.xml", "openvino_vision_projection_model.xml"
PREPROCESSOR = "preprocessor_config.json"
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
    PREPROCESSOR,
    *(f"{name[:-4]}{end}" for name in (EMBEDDING, TOWER, PROJECTOR) for end in (".xml", ".bin")),
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


def decoder_of(folder: Path) -> str:
    """The name of the decoder in a folder that holds one: it is another in one that sees."""
    return LANGUAGE if (folder / LANGUAGE).is_file() else MODEL


def weights_of(name: str) -> str:
    """The file of the weights beside an IR."""
    return f"{name.removesuffix('.xml')}.bin"


def read_model(folder: Path, name: str = "") -> Any:
    """The IR, the decoder's if none is named, as a model. Raises ArtifactError for a missing or cut one."""
    import openvino

    name = name or decoder_of(folder)
    if not (folder / weights_of(name)).is_file():
        raise ArtifactError(f"{weights_of(name)} is missing", where=str(folder), hint="dvc repro makes it")
    try:
        return openvino.Core().read_model(folder / name)
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
