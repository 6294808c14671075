"""DVC for thousands of stages in one process: what it does again and again for each of them, once.

`dvc repro` is a process per command; its stages open the state database, read the configuration and hash the same
dependencies many times over, and what a process keeps grows with every stage. Nothing here changes what DVC decides,
writes or locks; tests name what of DVC is replaced.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import dvc.rwlock
from dvc.fs import MemoryFileSystem
from dvc.repo import Repo

_dvcs_rwlock = dvc.rwlock.rwlock
_mine = threading.local()


@wraps(_dvcs_rwlock)
@contextmanager
def rwlock_of_a_stage(*arguments: Any) -> Iterator[None]:
    """DVC's lock of a stage's files, taken by the first who asks for it in this thread.

    DVC asks for it eighteen times a stage; whoever is first has all that the others ask for.
    """
    if getattr(_mine, "has_rwlock", False):
        yield
        return
    with _dvcs_rwlock(*arguments):
        _mine.has_rwlock = True
        try:
            yield
        finally:
            _mine.has_rwlock = False


def keep_open(repo: Repo, begin: Callable[[], None]) -> None:
    """The state database and the configuration stay from stage to stage; `begin` is called where DVC begins anew."""
    dvc.rwlock.rwlock = rwlock_of_a_stage
    repo.state.links.close = repo.state.hashes.close = _stay

    def reset() -> None:
        kept = repo.config
        Repo._reset(repo)
        repo.__dict__["config"] = kept
        begin()

    repo._reset = reset


def _stay() -> None:
    """Connections are this thread's, and end with it."""


class HashedOnce:
    """What a stage's dependencies are, looked at once until the stage's command runs, and once behind it."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Any, ...], Any] = {}

    def forget(self) -> None:
        """From here on files may have changed."""
        self._seen.clear()

    def watch(self, stage: Any) -> None:
        """Have a stage's dependencies looked at through this."""
        for dep in stage.deps:
            dep._build = self._through(dep._build)

    def _through(self, build: Callable[..., Any]) -> Callable[..., Any]:
        def once(odb: Any, path: str, fs: Any, name: str, **how: Any) -> Any:
            asked = (odb, path, name, how.get("dry_run"))
            if asked not in self._seen:
                self._seen[asked] = build(odb, path, fs, name, **how)
            return self._seen[asked]

        return once


def empty_memory() -> None:
    """Take away what DVC has left in memory: the list of each folder's files that it hashed, and of each file.

    It looks through all of them for each new one. For who has the workspace's lock: between hashing a result and
    keeping it they are needed.
    """
    memory = MemoryFileSystem().fs  # a process has one, and nothing else uses it
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
