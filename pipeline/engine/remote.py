"""Results by way of a DVC remote: what a worker takes from there and leaves there, and what the driver brings home.

`dvc pull` and `dvc push --run-cache` look at every entry that there is; these look at those of one stage.
"""

from __future__ import annotations

import logging
import os
import platform
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import lock_repo
from dvc.stage.cache import _get_cache_hash, _get_stage_hash
from dvc.stage.serialize import to_single_stage_lockfile

from pipeline.engine.jobs import Job
from pipeline.engine.workspace import RemoteAway, StageFailed, Workspace, entry_of, failing
from pipeline.errors import ConfigError, explain, first_line, suggest
from pipeline.types import JSON

RUNS = "md5-dos2unix"  # DVC's run cache lies with its older store
NAME = "phi-deploy"  # of the remote on a worker


def remote_settings(space: Workspace, name: str) -> JSON:
    """A remote's own settings, as the driver has them. Raises ConfigError where there is none of that name."""
    known = space.repo.config["remote"]
    if name not in known:
        raise ConfigError(f"DVC knows no remote '{name}'", hint=f"dvc remote add {name} URL; {suggest(name, known)}")
    return {key: value for key, value in known[name].items() if value is not None}


def config_of(settings: JSON, cache: Path, root: Path) -> JSON:
    """DVC's configuration of a worker's workspace: no git, the cache that its workspaces share, that remote.

    What DVC remembers of the files goes with the folder.
    """
    return {
        "core": {"no_scm": True, "remote": NAME, "site_cache_dir": str(root / ".dvc/tmp")},
        "remote": {NAME: dict(settings)},
        "cache": {"dir": str(cache)},
    }


def check_remote(space: Workspace, name: str) -> None:
    """Leave a small file in the remote and take it away. Raises ConfigError where that fails: it is away, or full."""
    try:
        with lock_repo(space.repo):
            store = space.repo.cloud.get_remote_odb(name, "run cache", hash_name=RUNS)
            store.fs.makedirs(store.path, exist_ok=True)
            probe = store.fs.join(store.path, f"{_beside()}.part")
            try:
                store.fs.pipe_file(probe, b"phi-deploy")
            finally:
                _drop(store, probe)
    except Exception as error:  # whatever the remote's own library raises
        raise _away(name, error, "is it there, may you write?") from None


def _away(name: str, error: Exception, hint: str) -> ConfigError:
    known = explain(error)
    return ConfigError(f"remote {name}: {known[0] if known else first_line(error)}", hint="" if known else hint)


def _beside() -> str:
    """A name that no other process gives to what it has not finished."""
    return f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@contextmanager
def _reaching(name: str, leaving: bool = False) -> Iterator[None]:
    """Whatever the remote's own library raises is RemoteAway; that of this machine's disk stays what it is."""
    try:
        yield
    except Exception as error:
        known = explain(error)
        if known and not leaving:
            raise
        raise RemoteAway(name, f"remote: {known[0] if known else first_line(error)}", False) from None


def run_with_remote(space: Workspace, job: Job, inputs: Iterable[tuple[Job, JSON]], env: Mapping[str, str]) -> JSON:
    """Run a stage, or take it from the remote's run cache; its lock entry. Its results are in the remote then."""
    with failing(job.name), lock_repo(space.repo):
        with _reaching(job.name):
            for maker, entry in inputs:
                _check_out(space, maker, entry)
        lost = [dep for dep in dict.fromkeys(job.deps) if not Path(space.repo.root_dir, dep).exists()]
        if lost:
            raise StageFailed(job.name, f"{lost[0]} is not on this worker", False)
        with _reaching(job.name):
            _look_up(space, job)
        stage = space.stage_to_run(job)  # another than the one that was looked up: that one seems unchanged
        stage.reproduce(pull=True, run_env=dict(env))
        with _reaching(job.name, leaving=True):
            _publish(space, stage)
        return entry_of(stage)


def take(space: Workspace, job: Job, entry: JSON) -> None:
    """A stage's results from the remote into this workspace. Raises StageFailed."""
    with failing(job.name), lock_repo(space.repo), _reaching(job.name):
        _check_out(space, job, entry)


def send(space: Workspace, jobs: Iterable[tuple[Job, JSON]], remote: str) -> None:
    """Put results that are here into the remote, for workers to take. Raises ConfigError where it is away."""
    with lock_repo(space.repo):
        objects = set().union(*(_objects(space.stage(job, entry)) for job, entry in jobs))
        try:
            _whole(space.repo.cloud.push, objects, remote=remote)
        except Exception as error:
            raise _away(remote, error, "is it there, may you write?") from None


def bring_home(space: Workspace, done: Sequence[tuple[Job, JSON]], remote: str) -> None:
    """Results of workers into this workspace and its run cache; lock files are written by `write_locks`."""
    with lock_repo(space.repo):
        stages = [space.stage(job, entry) for job, entry in done]
        missing = [stage for stage in stages if not stage.outs_cached()]
        try:
            objects = set().union(*(_objects(stage, remote) for stage in missing))
            _whole(space.repo.cloud.pull, objects, remote=remote)
        except Exception as error:
            raise _away(remote, error, "results are kept there; the same command brings them") from None
        for stage in stages:
            stage.checkout(force=True)
        for stage in stages:  # looks at dependencies in the workspace: all results first
            space.repo.stage_cache.save(stage)


def _objects(stage: Any, remote: str | None = None) -> set[Any]:
    """What its results are made of; lists of folders come from the remote where they are not here."""
    return set().union(*stage.get_used_objs(remote=remote).values())


def _whole(move: Callable[..., Any], objects: set[Any], **which: str) -> None:
    """Move all of them. Raises why the first of those was not that were not; DVC logs that, and counts them."""
    logger, kept = logging.getLogger("dvc_data.hashfile.transfer"), _Reasons()
    logger.propagate = False
    logger.addHandler(kept)
    try:
        left = move(objects, **which).failed
    finally:
        logger.removeHandler(kept)
    if left:
        raise kept.found[0] if kept.found else DvcException(f"{len(left)} files could not be moved")


class _Reasons(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.found.append(record.exc_info[1])


def _check_out(space: Workspace, job: Job, entry: JSON) -> None:
    stage = space.stage(job, entry)
    if not stage.outs_cached():
        _whole(space.repo.cloud.pull, _objects(stage))
    stage.checkout(force=True)


def _look_up(space: Workspace, job: Job) -> None:
    """This stage's entries of the remote's run cache."""
    stage, cache = space.stage(job), space.repo.stage_cache
    stage.save_deps()
    local = Path(cache._get_cache_dir(_get_stage_hash(stage)))
    store = space.repo.cloud.get_remote_odb(None, "run cache", hash_name=RUNS)
    there = store.fs.join(store.path, "runs", *local.parts[-2:])
    if not store.fs.exists(there):
        return
    local.mkdir(parents=True, exist_ok=True)
    for path in store.fs.find(there):
        if not path.endswith(".part"):
            part = local.parent / f"{_beside()}.part"
            store.fs.get_file(path, str(part))
            part.replace(local / store.fs.name(path))


def _publish(space: Workspace, stage: Any) -> None:
    """Results first, then the run cache's entry, so that an entry in the remote is whole."""
    _whole(space.repo.cloud.push, _objects(stage))
    entry = to_single_stage_lockfile(stage)
    value = _get_cache_hash(entry)
    local = Path(space.repo.stage_cache._get_cache_path(_get_stage_hash(stage), value))
    store = space.repo.cloud.get_remote_odb(None, "run cache", hash_name=RUNS)
    there = store.fs.join(store.path, "runs", *local.parts[-3:])
    if store.fs.exists(there):
        return
    store.fs.makedirs(store.fs.parent(there), exist_ok=True)
    part = f"{there}.{_beside()}.part"
    try:
        store.fs.put_file(str(local), part)
        store.fs.move(part, there)
    except BaseException:
        _drop(store, part)
        raise


def _drop(store: Any, path: str) -> None:
    """Take away what may not be there, or only in part."""
    with suppress(Exception):
        store.fs.remove(path)
