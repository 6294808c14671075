"""The one file of a GGUF model, and what can be wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.errors import ArtifactError, ConfigError, suggest

MODEL = "model.gguf"  # in exports and builds; a package's file is named as the community does
MAGIC = b"GGUF"
ARCHITECTURE = "phi3"


def model_file(folder: Path) -> Path:
    """The only .gguf of a folder. Raises ArtifactError when there is none, or more than one."""
    found = sorted(folder.glob("*.gguf"))
    if len(found) != 1:
        raise ArtifactError(f"{len(found)} .gguf files instead of one", where=str(folder), hint="dvc repro makes it")
    return found[0]


def is_gguf(path: Path) -> bool:
    """Whether a file is there and begins as GGUF does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_gguf(path: Path) -> Any:
    """A gguf.GGUFReader. Raises ArtifactError for a file that is cut, no GGUF, or of another architecture."""
    import gguf

    if not is_gguf(path):
        raise ArtifactError("this is no GGUF file", where=str(path))
    try:
        reader = gguf.GGUFReader(path)
    except Exception as error:  # numpy and gguf raise what they like on a cut file
        raise ArtifactError(f"the GGUF file is cut or corrupt: {error}", where=str(path)) from None
    architecture = text(reader, "general.architecture")
    if architecture != ARCHITECTURE:
        raise ArtifactError(f"it holds a {architecture or 'nameless'} model, not {ARCHITECTURE}", where=str(path))
    return reader


def text(reader: Any, key: str) -> str:
    field = reader.get_field(key)
    return str(field.contents()) if field is not None else ""


def file_type(reader: Any) -> str:
    """Q4_K_M and the like, as llama.cpp names the file's mixture."""
    field = reader.get_field("general.file_type")
    number = int(field.contents()) if field is not None else -1
    return next((name for name, known in file_types().items() if known == number), f"type-{number}")


def file_types() -> dict[str, int]:
    """Names of GGUF's mixtures, as people write them → llama.cpp's numbers (`enum llama_ftype`)."""
    import gguf

    return {kind.name.removeprefix("MOSTLY_").removeprefix("ALL_"): int(kind) for kind in gguf.LlamaFileType}


def type_number(kind: str, where: str) -> int:
    """The number of a mixture. Raises ConfigError for an unknown one."""
    known = file_types()
    if kind not in known:
        raise ConfigError(f"unknown type '{kind}'", where=where, hint=suggest(kind, known))
    return known[kind]


def package_name(folder: Path, model: str, kind: str) -> str:
    """`phi-3.5-mini-instruct-Q4_K_M.gguf`: the source's name, as the community writes it."""
    manifest, source = folder / layout.MANIFEST, model
    if manifest.is_file():
        source = json.loads(manifest.read_text(encoding="utf-8"))["source"].rpartition("/")[2] or model
    return f"{source.lower()}-{kind}.gguf"
