"""Is there room for a result? Standard library only.

DVC keeps every result a second time, in its cache: for nothing where the file system has reflinks, else in full.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.files import has_reflinks, require_space


def copies(folder: Path) -> int:
    """How many times a result in `folder` is on the disk once DVC has cached it."""
    return 1 if has_reflinks(folder) else 2


def require_result(folder: Path, size: int, scratch: int = 0) -> None:
    """Raise ArtifactError unless `folder`'s disk holds a result of `size` bytes, DVC's copy, and `scratch` beside."""
    require_space(folder, size * copies(folder) + scratch)


def require_copy(folder: Path, size: int) -> None:
    """The same for a copy of `size` bytes that DVC has cached already."""
    require_space(folder, 0 if has_reflinks(folder) else size)
