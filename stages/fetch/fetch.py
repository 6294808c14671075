"""fetch: a local folder or a hub id becomes a checked, canonical model folder."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from pipeline.entries import Fetch
from pipeline.errors import CheckpointError
from pipeline.files import copy_file, write_json
from pipeline.model.adapter import of_another_base, read_adapter
from pipeline.model.architectures import TEXT
from pipeline.model.canonical import canonical_config, refuse_quantized
from pipeline.model.checkpoint import ADAPTER, MERGE, has_own_head, read_headers, shard_names, stored_dtype
from pipeline.model.dimensions import dimensions_of, read_config
from pipeline.model.licence_files import card_licence, copy_licence
from pipeline.model.merge import merge
from pipeline.model.side_files import complete, copy_adapters_tokenizer, copy_side_files
from pipeline.model.tensors import check_tensors
from pipeline.model.tokenizer import check_tokenizer
from pipeline.packaging.adapters import described
from pipeline.packaging.manifest import sha256
from pipeline.pictures.apart import check_modality, complete_ends, take_apart
from pipeline.types import JSON

log = logging.getLogger(__name__)

BASE = "base"  # where a hub model lies while an adapter is merged into it


def fetch(key: str, entry: Fetch, folder: Path) -> JSON:
    """Write the canonical model into `folder`: config with RoPE in both spellings, tokenizer; its manifest has digests.

    A local folder's weights are left where they are; a hub model's are downloaded into the folder. Where there is an
    adapter, the folder has the weights of both, merged; the base's are left where they are, or in the hub's cache. So
    it is with a modality, whose adapter lies among the weights; the tower is in a folder of its own.
    """
    base = folder / BASE if entry.adapter or entry.modality else folder
    if entry.path:
        source, revision = Path(entry.path), ""
        for path in source.glob("*.py") if entry.trust_remote_code else ():
            copy_file(path, folder / path.name)
    else:
        from pipeline.model.hub import download

        base.mkdir(exist_ok=True)
        source, revision = base, download(entry.repo, entry.revision, base, entry.trust_remote_code)
        shutil.rmtree(base / ".cache", ignore_errors=True)
        for path in base.glob("*.py") if base != folder else ():
            copy_file(path, folder / path.name)
    where = f"model folder {source}"
    raw = read_config(source)
    kind = check_modality(raw, entry.modality, where) if entry.modality else None
    config = _checked(take_apart(raw, kind, source, folder), folder, where) if kind else _checked(raw, source, where)
    adapter = None
    digests = {name: sha256(source / name) for name in shard_names(source)}
    if entry.adapter:
        adapter = read_adapter(Path(entry.adapter))
        warning = of_another_base(adapter, (entry.repo or source.name, str(raw.get("_name_or_path") or "")))
        if warning:
            log.warning("%s: %s", adapter.where, warning)
        rows = merge(adapter, read_headers(source), config, folder)
        config = _checked({**raw, "vocab_size": rows}, folder, f"{where} with {adapter.where}")
    if not entry.trust_remote_code:
        config.pop("auto_map", None)  # names code of the repository that nothing here may run
    write_json(folder / "config.json", config)
    copy_side_files(source, folder)
    if adapter:
        copy_adapters_tokenizer(adapter.folder, folder)
    complete(folder, config)
    if kind:
        complete_ends(kind, folder)
    licence: JSON = {"license": card_licence(source), "license_files": copy_licence(source, folder)}
    if adapter:
        licence["license_files"] += copy_licence(adapter.folder, folder, ".adapter")
    if base != folder:
        shutil.rmtree(folder / BASE, ignore_errors=True)
    check_tokenizer(folder, config["vocab_size"] + (kind.media if kind else 0))
    return {
        "model": key,
        "source": entry.repo or source.name,
        "revision": revision,
        **licence,
        "weights": digests,
        **({"adapter": described(adapter)} if adapter else {}),
        **({"modality": entry.modality} if entry.modality else {}),
        "files": {p.name: sha256(p) for p in sorted(folder.iterdir()) if p.is_file() and p.suffix != ".safetensors"},
    }


def _checked(raw: JSON, source: Path, where: str) -> JSON:
    """The canonical config of a folder whose weights are all there and of its shapes. Raises CheckpointError."""
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
            hint=f"{MERGE}, without adapter_* in it",
        )
    config, tensors = canonical_config(raw), read_headers(source)
    check_tensors(tensors, config, where)
    config["dtype"] = stored_dtype(tensors)  # tools load in what is said here, and would round
    if config["tie_word_embeddings"] and has_own_head(tensors):
        config["tie_word_embeddings"] = False  # as transformers reads it
    return config
