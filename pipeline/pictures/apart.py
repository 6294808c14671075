"""fetch's part: a checkpoint that sees becomes a decoder with its adapter merged, and a tower in a folder beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.files import write_json
from pipeline.model.architectures import ARCHITECTURES, canonical
from pipeline.model.canonical import canonical_config, refuse_quantized
from pipeline.model.checkpoint import read_headers
from pipeline.model.merge import Merged, merge, write_tensors
from pipeline.model.tensors import check_tensors
from pipeline.pictures.phi4mm import IMAGE_TOKEN_ID, VISION, parted, text_config
from pipeline.pictures.tower import FOLDER, SIZES


def check_modality(raw: Mapping[str, Any], modality: str, where: str) -> None:
    """Raises CheckpointError where config.json is of a model that has no such modality."""
    named = raw.get("architectures")
    name = canonical(str(named[0])) if isinstance(named, list) and named else ""
    architecture = ARCHITECTURES.get(name)
    if modality != VISION or architecture is None or not architecture.sees:
        known = ", ".join(found.name for found in ARCHITECTURES.values() if found.sees)
        raise CheckpointError(
            f"architecture {name or '(none)'} has no modality '{modality}'", where=where, hint=f"{VISION}: {known}"
        )


def take_apart(raw: Mapping[str, Any], source: Path, folder: Path) -> dict[str, Any]:
    """Write model.safetensors and `vision/` into `folder`; config.json of the decoder, as it is said.

    Raises CheckpointError for what is missing, unknown or of another shape.
    """
    where = f"model folder {source}"
    refuse_quantized(raw, where)
    parts, said = parted(read_headers(source), raw, source), text_config(raw)
    config = canonical_config(said)
    check_tensors(parts.text, config, where)
    merge(parts.adapter, parts.text, config, folder)
    (folder / FOLDER).mkdir(exist_ok=True)
    write_tensors({name: Merged(tensor, tensor.dtype) for name, tensor in parts.sight.items()}, folder / FOLDER)
    sizes = {"hidden_size": config["hidden_size"], "image_token_id": IMAGE_TOKEN_ID, "tower": parts.tower}
    write_json(folder / FOLDER / SIZES, sizes)
    return said
