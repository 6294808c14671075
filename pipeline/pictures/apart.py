"""fetch's part: a checkpoint that sees or hears becomes a decoder, its adapter merged, and a tower beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.files import has_reflinks, read_json, require_space, write_json
from pipeline.model.architectures import canonical
from pipeline.model.canonical import canonical_config, refuse_quantized
from pipeline.model.checkpoint import Tensor, read_headers
from pipeline.model.merge import Merged, merge, write_tensors
from pipeline.model.side_files import GENERATION, stop_ids
from pipeline.model.tensors import check_tensors
from pipeline.model.tokenizer import load_tokenizer
from pipeline.pictures import phi3v, phi4mm
from pipeline.pictures.kinds import KINDS, PHI3V, Kind, kind_for
from pipeline.pictures.rows import MEDIA
from pipeline.pictures.tower import SIZES

ENDS = ("<|end|>", "<|endoftext|>")


def check_modality(raw: Mapping[str, Any], modality: str, where: str) -> Kind:
    """Raises CheckpointError where config.json is of a model that has no such modality."""
    named = raw.get("architectures")
    name = canonical(str(named[0])) if isinstance(named, list) and named else ""
    found = kind_for(name, modality)
    if found is None:
        known = {each: [kind.architecture for kind in KINDS.values() if kind.modality == each] for each in MEDIA}
        hint = "; ".join(f"{each}: {', '.join(names)}" for each, names in known.items())
        raise CheckpointError(f"architecture {name or '(none)'} has no modality '{modality}'", where=where, hint=hint)
    return found


def take_apart(raw: Mapping[str, Any], kind: Kind, source: Path, folder: Path) -> dict[str, Any]:
    """Write model.safetensors and the modality's folder into `folder`; config.json of the decoder, as it is said.

    Raises CheckpointError for what is missing, unknown or of another shape.
    """
    where, tensors = f"model folder {source}", read_headers(source)
    refuse_quantized(raw, where)
    parts = phi3v.parted(tensors, raw, source) if kind is PHI3V else phi4mm.parted(tensors, raw, source, kind.modality)
    beside = {*phi3v.NOT_OF_TEXT, *phi4mm.NOT_OF_TEXT}
    said = {name: value for name, value in raw.items() if name not in beside}
    said |= {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3"}
    config = canonical_config(said)
    check_tensors(parts.text, config, where)
    if parts.adapter:
        merge(parts.adapter, parts.text, config, folder)
    else:
        _write(parts.text, folder)
    tower = folder / kind.modality
    tower.mkdir(exist_ok=True)
    _write(parts.beside, tower)
    write_json(tower / SIZES, {"kind": kind.name, "hidden_size": config["hidden_size"], "tower": parts.tower})
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
