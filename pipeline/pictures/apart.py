"""fetch's part: a checkpoint that sees becomes a decoder, its adapter merged, and a tower in a folder beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.files import has_reflinks, read_json, require_space, write_json
from pipeline.model.architectures import ARCHITECTURES, canonical
from pipeline.model.canonical import canonical_config, refuse_quantized
from pipeline.model.checkpoint import Tensor, read_headers
from pipeline.model.merge import Merged, merge, write_tensors
from pipeline.model.side_files import GENERATION, stop_ids
from pipeline.model.tensors import check_tensors
from pipeline.model.tokenizer import load_tokenizer
from pipeline.pictures import phi3v, phi4mm
from pipeline.pictures.kinds import KINDS, PHI3V, Kind
from pipeline.pictures.phi4mm import VISION
from pipeline.pictures.tower import FOLDER, SIZES

LAYOUTS = {phi3v.ARCHITECTURE: phi3v, phi4mm.ARCHITECTURE: phi4mm}
ENDS = ("<|end|>", "<|endoftext|>")


def check_modality(raw: Mapping[str, Any], modality: str, where: str) -> Kind:
    """Raises CheckpointError where config.json is of a model that has no such modality."""
    named = raw.get("architectures")
    name = canonical(str(named[0])) if isinstance(named, list) and named else ""
    architecture = ARCHITECTURES.get(name)
    if modality != VISION or architecture is None or not architecture.sees:
        known = ", ".join(found.name for found in ARCHITECTURES.values() if found.sees)
        raise CheckpointError(
            f"architecture {name or '(none)'} has no modality '{modality}'", where=where, hint=f"{VISION}: {known}"
        )
    return next(kind for kind in KINDS.values() if kind.architecture == name)


def take_apart(raw: Mapping[str, Any], kind: Kind, source: Path, folder: Path) -> dict[str, Any]:
    """Write model.safetensors and `vision/` into `folder`; config.json of the decoder, as it is said.

    Raises CheckpointError for what is missing, unknown or of another shape.
    """
    where, layout = f"model folder {source}", LAYOUTS[kind.architecture]
    refuse_quantized(raw, where)
    parts = layout.parted(read_headers(source), raw, source)
    said = {name: value for name, value in raw.items() if name not in layout.NOT_OF_TEXT}
    said |= {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3"}
    config = canonical_config(said)
    check_tensors(parts.text, config, where)
    if parts.adapter:
        merge(parts.adapter, parts.text, config, folder)
    else:
        _write(parts.text, folder)
    (folder / FOLDER).mkdir(exist_ok=True)
    _write(parts.sight, folder / FOLDER)
    write_json(folder / FOLDER / SIZES, {"kind": kind.name, "hidden_size": config["hidden_size"], "tower": parts.tower})
    return said


def _write(tensors: Mapping[str, Tensor], folder: Path) -> None:
    made = {name: Merged(tensor, tensor.dtype) for name, tensor in tensors.items()}
    size = sum(tensor.size for tensor in made.values())
    require_space(folder, size if has_reflinks(folder) else 2 * size)  # DVC's copy
    write_tensors(made, folder)


def complete_ends(kind: Kind, folder: Path) -> None:
    """Phi-3.5-vision's generation_config.json names </s>, with which it ends no answer: its chat's ends are added.

    transformers' users are told to say the tokenizer's (the model's card); every loader of it adds them likewise.
    """
    if kind is not PHI3V:
        return
    tokenizer = load_tokenizer(folder)
    ends = {found for found in map(tokenizer.token_to_id, ENDS) if found is not None}
    path = folder / GENERATION
    write_json(path, {**read_json(path), "eos_token_id": sorted(ends | {*stop_ids(folder)})})
