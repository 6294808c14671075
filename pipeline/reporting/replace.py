"""Report files: replaced whole, and only when their content changes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PARTIAL = ".partial"


def replace(path: Path, content: bytes | str) -> bool:
    """Write `content` unless it is there already; returns whether it was written.

    The old file is never opened for writing: it may be a read-only link into DVC's cache.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        beside.chmod(0o644)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return True


def keep_only(folder: Path, names: set[str]) -> None:
    """Remove the JSON files of a folder that are not in `names`, and what a killed run left of one."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in names and path.suffix in (".json", PARTIAL):
            path.unlink()
