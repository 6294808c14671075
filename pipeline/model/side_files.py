"""What lies beside the weights: tokenizer, templates, generation config, as every runtime finds and reads them.

Byte-order marks and a trainer's truncation and padding are taken off; chat templates lie in files of their own; what is
missing is written from what is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.files import copy_file, write_text
from pipeline.types import JSON

NAMES = (
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
OF_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", "vocab.json")
GENERATION = "generation_config.json"
TEMPLATE, MORE_TEMPLATES = "chat_template.jinja", "additional_chat_templates"  # transformers' names
TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
MARK = b"\xef\xbb\xbf"  # UTF-8's byte-order mark
PLAIN_NAME = re.compile(r"[\w-]+")


def copy_side_files(source: Path, folder: Path) -> None:
    """Those of NAMES that are in `source`, without byte-order marks, and its further chat templates."""
    for name in NAMES:
        if (source / name).is_file() and source != folder:
            copy_file(source / name, folder / name)
        if name != "tokenizer.model" and (folder / name).is_file():
            raw = (folder / name).read_bytes()
            if raw.startswith(MARK):
                (folder / name).write_bytes(raw.removeprefix(MARK))
    for path in sorted((source / MORE_TEMPLATES).glob("*.jinja")) if source != folder else ():
        write_text(folder / MORE_TEMPLATES / path.name, path.read_text(encoding="utf-8-sig"))


def copy_adapters_tokenizer(adapter: Path, folder: Path) -> None:
    """Where the adapter has a tokenizer.json, its tokenizer in place of the base's, of which templates stay."""
    if not (adapter / "tokenizer.json").is_file():
        return
    for name in OF_TOKENIZER:
        (folder / name).unlink(missing_ok=True)
    said = _read(adapter / "tokenizer_config.json") or {}
    if (adapter / TEMPLATE).is_file() or said.get("chat_template"):
        (folder / TEMPLATE).unlink(missing_ok=True)
    copy_side_files(adapter, folder)


def complete(folder: Path, config: Mapping[str, Any]) -> None:
    """Write what is missing or lies elsewhere. Raises CheckpointError that names a broken file."""
    tokenizer = _read(folder / "tokenizer.json")
    if tokenizer is None:
        raise CheckpointError(
            "it has no tokenizer.json", where=str(folder), hint="save the tokenizer with transformers"
        )
    if tokenizer.get("truncation") or tokenizer.get("padding"):
        _write(folder / "tokenizer.json", {**tokenizer, "truncation": None, "padding": None})
    if not (folder / GENERATION).is_file():
        _write(folder / GENERATION, {name: config[name] for name in TOKENS if config.get(name) is not None})
    settings = _read(folder / "tokenizer_config.json")
    if settings is None:
        settings = _settings(tokenizer, config)
        _write(folder / "tokenizer_config.json", settings)
    _templates(folder, settings)


def stop_ids(folder: Path) -> list[int]:
    """The ids that end an answer: generation_config.json's, else config.json's."""
    for name in (GENERATION, "config.json"):
        ids = (_read(folder / name) or {}).get("eos_token_id")
        if ids is not None:
            return sorted(ids if isinstance(ids, list) else [ids])
    return []


def _templates(folder: Path, settings: JSON) -> None:
    """Older checkpoints keep one template, or a list of named ones, in tokenizer_config.json; runtimes want a file."""
    said = settings.get("chat_template")
    if isinstance(said, list):
        named = {str(entry["name"]): str(entry["template"]) for entry in said if _is_named(entry)}
        if len(named) != len(said) or "default" not in named:
            raise CheckpointError(
                "tokenizer_config.json's chat_template is a list without a `default`, or with entries that are no "
                "{name, template}",
                where=str(folder),
            )
        _write(folder / "tokenizer_config.json", {**settings, "chat_template": named["default"]})
        said = named.pop("default")
        for name, text in named.items():
            write_text(folder / MORE_TEMPLATES / f"{name}.jinja", text)
    if isinstance(said, str) and not (folder / TEMPLATE).exists():
        write_text(folder / TEMPLATE, said)


def _is_named(entry: Any) -> bool:
    return (
        isinstance(entry, dict) and {"name", "template"} <= entry.keys() and bool(PLAIN_NAME.fullmatch(entry["name"]))
    )


def _settings(tokenizer: JSON, config: Mapping[str, Any]) -> JSON:
    """A tokenizer_config.json of what tokenizer.json and config.json say."""
    added = {token["id"]: token["content"] for token in tokenizer.get("added_tokens") or ()}
    ids = {name: config.get(f"{name}_id") for name in ("bos_token", "eos_token", "pad_token")}
    first = {name: found[0] if isinstance(found, list) and found else found for name, found in ids.items()}
    tokens = {name: added[found] for name, found in first.items() if found in added}
    unknown = (tokenizer.get("model") or {}).get("unk_token")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "add_eos_token": False,
        **tokens,
        **({"unk_token": unknown} if unknown else {}),
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
    }


def _read(path: Path) -> JSON | None:
    """A JSON object, or None where there is no file. Raises CheckpointError for anything else."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name} is corrupt: {error}", where=str(path.parent)) from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path.name} is corrupt: no JSON object", where=str(path.parent))
    return found


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
