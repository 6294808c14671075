"""Every call into DVC that the engine makes, most of them private: DVC is pinned, and a test names each of them.

A stage is run by DVC's own code (`Stage.reproduce`): its decision whether anything changed, its run cache, its
removal, hashing and caching of results. Only two things are left out: dvc.yaml and dvc.lock are not read, since a
stage is made from its command, dependencies and results; and lock files are written by the driver alone.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from dvc.dvcfile import ProjectFile
from dvc.exceptions import DvcException, ReproductionError
from dvc.repo import Repo, lock_repo
from dvc.stage.exceptions import StageCmdFailedError
from dvc.stage.loader import StageLoader
from dvc.stage.serialize import to_single_stage_lockfile

from pipeline.engine.jobs import Job
from pipeline.engine.lean import HashedOnce, empty_memory, keep_open
from pipeline.engine.locks import with_entries
from pipeline.errors import first_line
from pipeline.files import write_text
from pipeline.types import JSON

Known = Mapping[str, JSON]  # lock entries by job
_TURN = threading.Lock()
_mine = threading.local()


class StageFailed(Exception):  # noqa: N818 (crosses processes by name)
    """A stage ended badly. `said`: its process told the reason here, on its own; `record`: its record, from afar."""

    def __init__(self, name: str, reason: str, said: bool, record: JSON | None = None) -> None:
        super().__init__(name, reason, said, record)
        self.name, self.reason, self.said, self.record = name, reason, said, record


class RemoteAway(StageFailed):
    """A stage's inputs could not be had from the remote, or its results not be left there."""


class Turns:
    """DVC's lock of a workspace, for this process's threads as well: on its own it is asked for twice a second.

    Who has it is in the workspace's folder, since DVC takes a stage of its run cache to lie there.
    """

    def __init__(self, lock: Any, root: str) -> None:
        self._lock, self._root = lock, root

    def lock(self) -> None:
        _TURN.acquire()
        try:
            os.chdir(self._root)
            self._lock.lock()
            empty_memory()
        except BaseException:
            _TURN.release()
            raise

    def unlock(self) -> None:
        self._lock.unlock()
        _TURN.release()

    @property
    def is_locked(self) -> bool:
        return bool(self._lock.is_locked)

    def __enter__(self) -> None:
        self.lock()

    def __exit__(self, *_: object) -> None:
        self.unlock()


class Workspace:
    """DVC in one folder, for one thread."""

    def __init__(self, root: Path, config: JSON | None = None) -> None:
        self.repo = Repo(str(root), config=config, _wait_for_lock=True)
        self.repo.lock = Turns(self.repo.lock, self.repo.root_dir)
        self._hashed = HashedOnce()
        keep_open(self.repo, self._hashed.forget)

    def stage(self, job: Job, known: JSON | None = None) -> Any:
        """DVC's stage, as of dvc.yaml and, where a lock entry is known, of dvc.lock."""
        file = ProjectFile(self.repo, str(Path(self.repo.root_dir, job.file)))
        data = {"wdir": "../..", "cmd": job.cmd, "deps": list(job.deps), "outs": list(job.outs)}
        return StageLoader.load_stage(file, job.name, data, known or {})

    def stage_to_run(self, job: Job, known: JSON | None = None) -> Any:
        """The same, whose dependencies are looked at once before its command and once behind it."""
        stage = self.stage(job, known)
        self._hashed.watch(stage)
        return stage

    def changed(self, jobs: Iterable[Job], known: Known) -> Iterator[bool]:
        """Of each, whether its lock entry says something else than what lies here, as `dvc repro` asks.

        A path that many read is looked at once for each digest that they expect of it.
        """
        seen: set[tuple[str, str]] = set()  # paths that are what they are expected to be
        with lock_repo(self.repo):
            for job in jobs:
                yield job.name not in known or self._differs(job, known[job.name], seen)
                empty_memory()

    def _differs(self, job: Job, entry: JSON, seen: set[tuple[str, str]]) -> bool:
        expected = {item["path"]: str(item) for kind in ("outs", "deps") for item in entry.get(kind, ())}
        if entry.get("cmd") != job.cmd or not expected.keys() >= {*job.outs, *job.deps}:
            return True
        outs, deps = (
            tuple(path for path in paths if (path, expected[path]) not in seen) for paths in (job.outs, job.deps)
        )
        stage = self.stage(replace(job, outs=outs, deps=tuple(dict.fromkeys(deps))), entry)
        for item in (*stage.outs, *stage.deps):
            if item.status():
                return True
            seen.add((item.def_path, expected[item.def_path]))
        return False

    def run(self, job: Job, known: JSON | None, env: Mapping[str, str]) -> JSON:
        """Run a stage where something changed; its lock entry. Raises StageFailed."""
        with failing(job.name), lock_repo(self.repo):
            stage = self.stage_to_run(job, known)
            stage.reproduce(run_env=dict(env))
            return entry_of(stage)

    def once(self, name: str) -> None:
        """Run guard, report or track. Raises StageFailed."""
        with failing(name):
            self.repo.reproduce(name, single_item=True)

    def write_locks(self, jobs: Sequence[Job], known: Known) -> None:
        """Lock entries into each stage's dvc.lock, in this order, written once."""
        with lock_repo(self.repo):
            for file, group in groupby(jobs, key=lambda job: job.file):
                those = list(group)
                path = Path(self.repo.root_dir, file).with_name("dvc.lock")
                before = path.read_text(encoding="utf-8") if path.is_file() else ""
                text = with_entries(before, {job.name: known[job.name] for job in those})
                if text is None:
                    stages = [self.stage(job, known[job.name]) for job in those]
                    stages[0].dvcfile.dump_stages(stages, update_pipeline=False)
                elif text != before:
                    write_text(path, text)
                    self.repo.scm_context.track_file(path.relative_to(self.repo.root_dir).as_posix())


def workspace(root: Path, config: JSON | None = None) -> Workspace:
    """This thread's, opened once."""
    opened: dict[Path, Workspace] = _mine.__dict__.setdefault("opened", {})
    if root not in opened:
        opened[root] = Workspace(root, config)
    return opened[root]


def entry_of(stage: Any) -> JSON:
    """A stage's entry in dvc.lock, as plain data."""
    entry: JSON = json.loads(json.dumps(to_single_stage_lockfile(stage)))
    return entry


@contextmanager
def failing(name: str) -> Iterator[None]:
    try:
        yield
    except (StageCmdFailedError, ReproductionError) as error:
        cause = error.__cause__ or error
        said = isinstance(cause, StageCmdFailedError)
        raise StageFailed(name, first_line(cause), said) from None
    except DvcException as error:
        raise StageFailed(name, first_line(error), False) from None
