"""Digests of folders: what a package holds, and whether it still holds that."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import ArtifactError
from pipeline.files import read_json
from pipeline.layout import MANIFEST
from pipeline.types import JSON

SUMS = "files.sha256"
CHUNK = 1 << 20


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def files_of(folder: Path) -> list[Path]:
    """All files below a folder, sorted. Raises ArtifactError for a link: a package holds plain files."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ArtifactError("a link, where a plain file must be", where=str(path))
        if path.is_file():
            found.append(path)
    return found


def digests(folder: Path, leave_out: Iterable[str] = ()) -> dict[str, JSON]:
    """{relative name: {sha256, size_bytes}} of the files below a folder."""
    skipped = set(leave_out)
    names = ((path.relative_to(folder).as_posix(), path) for path in files_of(folder))
    return {
        name: {"sha256": sha256(path), "size_bytes": path.stat().st_size} for name, path in names if name not in skipped
    }


def sums(files: dict[str, JSON]) -> str:
    """The text of files.sha256, as `sha256sum -c` reads it."""
    return "".join(f"{entry['sha256']}  {name}\n" for name, entry in sorted(files.items()))


def verify(folder: Path) -> JSON:
    """Hold a package against its manifest; returns the manifest. Raises ArtifactError listing every difference."""
    if not folder.is_dir():
        raise ArtifactError("there is no such package", where=str(folder), hint="dvc repro, or dvc pull, makes it")
    manifest: JSON = read_json(folder / MANIFEST)
    listed = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(listed, dict):
        raise ArtifactError("the manifest lists no files", where=str(folder / MANIFEST))
    problems = []
    present = {path.relative_to(folder).as_posix(): path for path in files_of(folder)}
    present.pop(MANIFEST, None)
    for name, entry in listed.items():
        path = present.pop(name, None)
        if path is None:
            problems.append(f"{name} is missing")
        elif path.stat().st_size != entry["size_bytes"]:
            problems.append(f"{name} has {path.stat().st_size} bytes, not {entry['size_bytes']}")
        elif sha256(path) != entry["sha256"]:
            problems.append(f"{name} was altered")
    problems += [f"{name} does not belong here" for name in sorted(present)]
    if problems:
        hint = "make it again: dvc repro --force --single-item stages/package/dvc.yaml:package@<cell>"
        raise ArtifactError("; ".join(problems), where=str(folder), hint=hint)
    return manifest
