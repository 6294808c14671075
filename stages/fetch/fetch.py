"""fetch: a local folder or a hub id becomes a checked, canonical model folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.entries import Fetch
from pipeline.errors import CheckpointError
from pipeline.files import copy_file, write_json
from pipeline.model.architectures import TEXT
from pipeline.model.canonical import canonical_config, refuse_quantized
from pipeline.model.checkpoint import ADAPTER, MERGE, has_own_head, read_headers, shard_names, stored_dtype
from pipeline.model.dimensions import dimensions_of, read_config
from pipeline.model.licence_files import card_licence, copy_licence
from pipeline.model.side_files import complete, copy_side_files
from pipeline.model.tensors import check_tensors
from pipeline.model.tokenizer import check_tokenizer
from pipeline.packaging.manifest import sha256
from pipeline.types import JSON


def fetch(key: str, entry: Fetch, folder: Path) -> JSON:
    """Write the canonical model into `folder`: config with RoPE in both spellings, tokenizer; its manifest has digests.

    A local folder's weights are left where they are; a hub model's are downloaded into the folder.
    """
    if entry.path:
        source, revision = Path(entry.path), ""
        for path in source.glob("*.py") if entry.trust_remote_code else ():
            copy_file(path, folder / path.name)
    else:
        from pipeline.model.hub import download

        source = folder
        revision = download(entry.repo, entry.revision, folder, entry.trust_remote_code)
        shutil.rmtree(folder / ".cache", ignore_errors=True)
    where = f"model folder {source}"
    config = _checked(source, where)
    if not entry.trust_remote_code:
        config.pop("auto_map", None)  # names code of the repository that nothing here may run
    write_json(folder / "config.json", config)
    copy_side_files(source, folder)
    complete(folder, config)
    licence = {"license": card_licence(source), "license_files": copy_licence(source, folder)}
    check_tokenizer(folder, config["vocab_size"])
    return {
        "model": key,
        "source": entry.repo or source.name,
        "revision": revision,
        **licence,
        "weights": {name: sha256(source / name) for name in shard_names(source)},
        "files": {p.name: sha256(p) for p in sorted(folder.iterdir()) if p.is_file() and p.suffix != ".safetensors"},
    }


def _checked(source: Path, where: str) -> JSON:
    """The canonical config of a folder whose weights are all there and of its shapes. Raises CheckpointError."""
    raw = read_config(source)
    architecture = dimensions_of(raw, where).architecture
    if architecture not in TEXT:
        raise CheckpointError(
            f"architecture {architecture or '(none)'} is not known to any backend",
            where=where,
            hint=f"known: {', '.join(TEXT)}",
        )
    refuse_quantized(raw, where)
    if (source / ADAPTER).is_file():
        raise CheckpointError(
            f"{ADAPTER} lies beside the model's weights: is the base meant, or the adapter in it?",
            where=where,
            hint=f"{MERGE}; or move adapter_* away",
        )
    config, tensors = canonical_config(raw), read_headers(source)
    check_tensors(tensors, config, where)
    config["dtype"] = stored_dtype(tensors)  # tools load in what is said here, and would round
    if config["tie_word_embeddings"] and has_own_head(tensors):
        config["tie_word_embeddings"] = False  # as transformers reads it
    return config
