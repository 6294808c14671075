"""Writing that never leaves half a file: beside, then renamed; a folder's manifest comes last. And copying."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import FREE, ArtifactError

PARTIAL = ".partial"  # what a killed run may leave
FICLONE = 0x40049409  # linux/fs.h: the target takes the source's blocks


def write_text(path: Path, text: str) -> None:
    """Write a file whole, or leave what was there."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """The same of bytes. The old file is never opened for writing: it may be a read-only link into DVC's cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(beside).chmod(0o644)
        os.replace(beside, path)  # noqa: PTH105
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole. NaN and infinity are an error: a figure is a number, or null with a reason."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON. Raises ArtifactError for a missing or broken file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError("the file is missing", where=str(path), hint="dvc repro makes it") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ArtifactError(f"no valid JSON: {error}", where=str(path), hint="remove it and run dvc repro") from None


@contextlib.contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into; it takes the place of `out` only when the block ends well.

    What an earlier run that was killed left beside `out` is removed.
    """
    with scratch_folder(out) as beside:
        beside.chmod(0o755)
        yield beside
        if out.is_dir():
            shutil.rmtree(out)
        beside.rename(out)


@contextlib.contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` for what is needed on the way to it alone. What a killed run left there is removed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for left in out.parent.glob(f".{out.name}.*{PARTIAL}"):
        shutil.rmtree(left, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=PARTIAL))
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def require_space(folder: Path, needed: int) -> None:
    """Raise ArtifactError when `folder`'s disk has less than `needed` bytes free."""
    free = shutil.disk_usage(existing(folder)).free
    if free < needed:
        raise ArtifactError(
            f"needs about {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB {FREE}",
            where=str(folder),
            hint="free some space and run again: finished stages are kept",
        )


def link_or_copy(source: Path, target: Path) -> None:
    """A symbolic link to `source`, or a copy where the system has none. For temporary folders only."""
    try:
        target.symlink_to(source.resolve())
    except OSError:
        copy_file(source, target)


def copy_file(source: Path, target: Path) -> None:
    """Contents alone, as shutil.copyfile; they take no room where the file system can share them."""
    if target.exists() and target.samefile(source):
        raise shutil.SameFileError(f"{source} and {target} are one file")
    if not clone_file(source, target):
        shutil.copyfile(source, target)


def clone_file(source: Path, target: Path) -> bool:
    """A reflink: a file of its own that shares `source`'s blocks until either changes (btrfs, XFS, APFS).

    False where there is none; `target` may then be there, empty.
    """
    try:
        if sys.platform == "linux":
            import fcntl

            with source.open("rb") as old, target.open("wb") as new:
                fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
            return True
        if sys.platform == "darwin":
            import ctypes

            target.unlink(missing_ok=True)
            return ctypes.CDLL(None).clonefile(os.fsencode(source), os.fsencode(target), 0) == 0
    except FileNotFoundError:
        raise
    except (OSError, AttributeError):
        return False
    return False


def has_reflinks(folder: Path) -> bool:
    """Whether copies in `folder`, or the nearest above it that is there, share blocks: a small file is tried."""
    with (
        contextlib.suppress(OSError),
        tempfile.TemporaryDirectory(dir=existing(folder), prefix=".reflink-") as temporary,
    ):
        source = Path(temporary) / "source"
        source.write_bytes(b"x" * 65536)
        return clone_file(source, Path(temporary) / "target")
    return False


def existing(folder: Path) -> Path:
    """`folder`, or the nearest above it that is there."""
    return next(path for path in (folder, *folder.resolve().parents) if path.exists())
