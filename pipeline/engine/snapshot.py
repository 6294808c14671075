"""The working tree as it is, to be unpacked on workers: they need no checkout and no git."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

from pipeline import layout
from pipeline.errors import ConfigError

MOST = 256 * 2**20  # bytes: what is larger does not go through a scheduler
LOCK = "dvc.lock"


def snapshot(root: Path) -> tuple[bytes, str]:
    """(tar, digest) of tracked files, untracked ones that git does not ignore, and guard's; lock files stay here.

    Raises ConfigError where there is no git, or more than MOST.
    """
    command = ["git", "ls-files", "-coz", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        raise ConfigError("this is no git checkout", hint="a cluster gets the files that git lists") from None
    own = (path for folder in (layout.INPUTS, layout.HOST) for path in (root / folder).rglob("*") if path.is_file())
    names = {*filter(None, listed.split("\0")), *(path.relative_to(root).as_posix() for path in own)}
    paths = [name for name in sorted(names) if (root / name).is_file() and not name.endswith(LOCK)]
    sizes = {name: (root / name).stat().st_size for name in paths}
    if sum(sizes.values()) > MOST:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ConfigError(
            f"the working tree has {sum(sizes.values()) / 1e6:,.0f} MB, most of it {largest}",
            hint="take a model from the hub, or keep it under the same absolute path on every machine",
        )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in paths:
            tar.add(root / name, name, filter=_plain)
    data = buffer.getvalue()
    return data, hashlib.sha256(data).hexdigest()[:16]


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
    return entry


def unpack(data: bytes, folder: Path) -> None:
    """Unpack a snapshot beside its place and rename."""
    from pipeline.files import fresh_folder

    with fresh_folder(folder) as out, tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(out, filter="data")
