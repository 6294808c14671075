"""fetch: a local folder or a hub id becomes a checked, canonical model folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pipeline.entries import Fetch
from pipeline.errors import CheckpointError
from pipeline.files import copy_file, write_json
from pipeline.model.architectures import TEXT
from pipeline.model.checkpoint import missing_tensors, read_headers, shard_names, stored_dtype
from pipeline.model.dimensions import dimensions_of, read_config
from pipeline.model.rope import with_both_spellings
from pipeline.model.tokenizer import check_tokenizer
from pipeline.packaging.manifest import sha256
from pipeline.types import JSON

SIDE_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
    "merges.txt",
    "vocab.json",
)


def fetch(key: str, entry: Fetch, folder: Path) -> JSON:
    """Write the canonical model into `folder`: config with RoPE in both spellings, tokenizer; its manifest has digests.

    A local folder's weights are left where they are; a hub model's are downloaded into the folder.
    """
    if entry.path:
        source, revision = Path(entry.path), ""
        _check(source)
        code = [path.name for path in source.glob("*.py")] if entry.trust_remote_code else []
        for name in (*SIDE_FILES, *code):
            if (source / name).is_file():
                copy_file(source / name, folder / name)
    else:
        from pipeline.model.hub import download

        source = folder
        revision = download(entry.repo, entry.revision, folder, entry.trust_remote_code)
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        _check(folder)
    config = with_both_spellings(read_config(source))
    config["architectures"] = [dimensions_of(config, f"model folder {source}").architecture]
    config["dtype"] = stored_dtype(read_headers(source))  # tools load in what is said here, and would round
    if not entry.trust_remote_code:
        config.pop("auto_map", None)  # names code of the repository that nothing here may run
    write_json(folder / "config.json", config)
    _chat_template(folder)
    return {
        "model": key,
        "source": entry.repo or source.name,
        "revision": revision,
        "weights": {name: sha256(source / name) for name in shard_names(source)},
        "files": {p.name: sha256(p) for p in sorted(folder.iterdir()) if p.suffix != ".safetensors"},
    }


def _check(folder: Path) -> None:
    """Everything that can be wrong with a checkpoint and is cheap to see. Raises CheckpointError."""
    config = read_config(folder)
    architecture = dimensions_of(config, f"model folder {folder}").architecture
    if architecture not in TEXT:
        raise CheckpointError(
            f"architecture {architecture or '(none)'} is not known to any backend",
            where=f"model folder {folder}",
            hint=f"known: {', '.join(TEXT)}",
        )
    tensors = read_headers(folder)
    absent = missing_tensors(tensors, config)
    if absent:
        raise CheckpointError(
            f"{len(absent)} tensors are missing, the first is {absent[0]}",
            where=f"model folder {folder}",
            hint="copy or fetch the checkpoint again",
        )
    rows = tensors["model.embed_tokens.weight"].shape
    if rows != (config["vocab_size"], config["hidden_size"]):
        raise CheckpointError(
            f"the embedding has shape {rows}, config.json says {(config['vocab_size'], config['hidden_size'])}",
            where=f"model folder {folder}",
        )
    check_tokenizer(folder, config["vocab_size"])


def _chat_template(folder: Path) -> None:
    """Older checkpoints keep the chat template inside tokenizer_config.json; runtimes look for the file."""
    path, target = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    if target.exists() or not path.is_file():
        return
    template = json.loads(path.read_text(encoding="utf-8")).get("chat_template")
    if isinstance(template, str):
        target.write_text(template, encoding="utf-8")
