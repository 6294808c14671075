"""A worker of a cluster: its copies of the driver's working tree, and the stages that it runs in them."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distributed import Reschedule, WorkerPlugin, get_worker

from pipeline import layout
from pipeline.engine import facts, needs
from pipeline.engine.jobs import Job
from pipeline.engine.local import environment, quiet
from pipeline.engine.remote import config_of, run_with_remote
from pipeline.engine.snapshot import unpack
from pipeline.engine.sweep import topic
from pipeline.engine.workspace import RemoteAway, StageFailed, Workspace, workspace
from pipeline.errors import PipelineError, ToolError, explain, first_line, no_room
from pipeline.records import StageRecord
from pipeline.strict import plain
from pipeline.types import JSON, Status

FOLDER = "PHI_DEPLOY_WORKER"  # where a worker keeps its copies and its cache
NO_ROOM = 10**6  # bytes free: less is none
ended: list[str] = []  # why this worker ended by itself
# what Dask's nanny sets for its workers: a stage would get other bytes and another speed by it
NANNYS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_")


class Copy(WorkerPlugin):  # type: ignore[misc]  # untyped base
    """The driver's working tree on a worker; the worker's facts become resources. Late joiners get it as well."""

    def __init__(self, tar: bytes, digest: str, host: Mapping[str, str], remote: JSON) -> None:
        self.tar, self.digest, self.host, self.remote = tar, digest, dict(host), remote
        self.name = f"phi-deploy-{digest}"
        self.root = self.cache = Path()
        self.said: list[str] = []  # what this machine is and has

    async def setup(self, worker: Any) -> None:
        quiet()
        for name in NANNYS:
            os.environ.pop(name, None)
        base = Path(os.environ.get(FOLDER) or worker.local_directory).absolute()
        # a folder of its own each time: in that of a driver that was killed a stage may still write
        self.root, self.cache = base / f"copy-{self.digest}-{uuid.uuid4().hex[:8]}", base / "cache"
        roots = {plugin.root for plugin in worker.plugins.values() if isinstance(plugin, Copy)}
        await asyncio.to_thread(self._remove_others, roots)
        try:
            own = await asyncio.to_thread(self._unpack)
        except (OSError, PipelineError) as error:  # it declares nothing, and so gets no stage
            why = f"worker {worker.name} takes no stage: {first_line(error)}"
            worker.log_event(topic(self.digest), {"problem": why})
            return
        self.said = sorted(facts.declared(own, self.digest))
        declared = facts.declared(own, self.digest) | needs.machine(needs.memory_here())
        await worker.set_resources(**{**worker.state.total_resources, **declared})

    def workspace(self) -> Workspace:
        """DVC in the copy, for one thread."""
        return workspace(self.root, config_of(self.remote, self.cache, self.root))

    async def teardown(self, worker: Any) -> None:
        """The driver has what it asked for, or this worker ends: the cache has all that is in the copy."""
        await asyncio.to_thread(shutil.rmtree, self.root, ignore_errors=True)

    def _remove_others(self, roots: set[Path]) -> None:
        """Copies that a worker left which was killed, or a driver."""
        for folder in set(self.root.parent.glob("copy-*")) - roots - {self.root}:
            shutil.rmtree(folder, ignore_errors=True)

    def _unpack(self) -> dict[str, str]:
        """The copy, with the driver's facts in it; returns this machine's own."""
        unpack(self.tar, self.root)
        guard = [sys.executable, "-m", "stages", "guard"]
        done = subprocess.run(guard, cwd=self.root, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise ToolError((done.stderr.strip().splitlines() or ["guard failed"])[-1].removeprefix("error: "))
        own = facts.facts_of(self.root)
        for name, text in self.host.items():
            (self.root / layout.HOST / name).write_text(text, encoding="utf-8")
        return own


def run_there(
    job: Job, digest: str, above: Mapping[str, Job], known: Mapping[str, JSON], upstream: Mapping[str, JSON]
) -> JSON:
    """The task: one stage on a worker. {entry, record, host}; raises StageFailed with the record."""
    worker = get_worker()
    copy = worker.plugins[f"phi-deploy-{digest}"]
    worker.log_event(topic(digest), {"name": job.name, "host": worker.name})
    entries = {**known, **{name: made["entry"] for name, made in upstream.items()}}
    record = copy.root / layout.record(job.stage, job.key)
    record.unlink(missing_ok=True)
    space = copy.workspace()
    try:
        inputs = [(maker, entries[name]) for name, maker in above.items()]
        entry = run_with_remote(space, job, inputs, environment())
    except RemoteAway as away:
        raise RemoteAway(job.name, f"{away.reason} (on {worker.name})", False) from None
    except StageFailed as failed:
        told = _read(record)
        reason = str(told["reason"]) if told and told.get("reason") else failed.reason
        _leave_if_full(worker, copy, reason)
        if failed.said and not told:
            reason = "its process was killed; did it run out of memory?"
            told = _killed(job, reason)
        raise StageFailed(job.name, f"{reason} (on {worker.name})", False, told) from None
    except Exception as error:
        said = (explain(error) or (first_line(error), 1))[0]
        _leave_if_full(worker, copy, said)
        raise StageFailed(job.name, f"{said} (on {worker.name})", False) from None
    return {"entry": entry, "record": _read(record), "host": worker.name}


def _leave_if_full(worker: Any, copy: Copy, reason: str) -> None:
    """A machine without room would fail stage after stage: its worker ends, and what it had goes to others."""
    free = shutil.disk_usage(copy.root).free
    if not no_room(reason) and free > NO_ROOM:
        return
    hint = "free some space and start it again; its stages go to others"
    why = f"worker {worker.name} ends: {copy.root.parent} has {free / 1e9:.2f} GB free; {hint}"
    worker.log_event(topic(copy.digest), {"problem": why})
    ended.append(why)
    worker.loop.add_callback(worker.close, reason="its disk is full")
    raise Reschedule


def measure_there(cell: str, digest: str, package: Job, entry: JSON, flags: list[str]) -> JSON:
    """A package's speed on a device that the driver lacks: {file, facts, host}, the file as `benchmark` writes it."""
    from pipeline.engine.remote import take

    worker = get_worker()
    copy: Copy = worker.plugins[f"phi-deploy-{digest}"]
    worker.log_event(topic(digest), {"name": f"benchmark@{cell}", "host": worker.name})
    take(copy.workspace(), package, entry)
    out = copy.root / layout.RECORDS / f"{cell}.benchmark.json"
    out.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pipeline", "benchmark", str(layout.package(cell)), "--out", str(out), *flags]
    done = subprocess.run(  # noqa: S603
        command, cwd=copy.root, capture_output=True, text=True, check=False, env={**os.environ, **environment()}
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it failed"])[-1].removeprefix("error: ")
        raise StageFailed(f"benchmark@{cell}", f"{reason} (on {worker.name})", False)
    return {"file": out.read_text(encoding="utf-8"), "facts": copy.said, "host": worker.name}


def stop_there(digest: str) -> None:
    """End the stages that run in a driver's copy on this worker."""
    import psutil

    copy = get_worker().plugins.get(f"phi-deploy-{digest}")
    for child in psutil.Process().children(recursive=True) if copy else ():
        with suppress(psutil.Error):
            if Path(child.cwd()) == copy.root:
                child.kill()


def _killed(job: Job, reason: str) -> JSON:
    """The record that a stage could not leave."""
    record = StageRecord(
        Status.FAILED,
        reason,
        stage=job.stage,
        key=job.key,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        peak_rss_bytes=None,
        host=platform.node(),
        python=platform.python_version(),
    )
    told: JSON = plain(record)
    return told


def _read(path: Path) -> JSON | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
