"""From a composed plan to its results: guard, what is due, the sweep, lock files, report and track."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import layout
from pipeline.engine import local, needs
from pipeline.engine.cluster import Sweep, run_cluster
from pipeline.engine.jobs import Job, below, jobs_of, upstream
from pipeline.engine.link import Link
from pipeline.engine.locks import lock_entries
from pipeline.engine.sweep import Outcome
from pipeline.engine.workspace import StageFailed, Workspace
from pipeline.errors import ConfigError
from pipeline.harness.params import read_params, read_templates
from pipeline.matrix.plan import make_plan
from pipeline.reporting.console import SAID_BY
from pipeline.types import JSON

INTERRUPTED = 130
RUNNING = Path(".dvc/tmp/phi-deploy.lock")
NAMED = 4


@dataclass(frozen=True)
class How:
    """How many stages at once on this machine (0: what fits), Dask's page, and a cluster where there is one."""

    beside: int = 0
    dashboard: bool = False
    link: Link | None = None


def drive(how: How) -> int:
    """Run what is missing; the exit code, 130 where it was interrupted."""
    if how.dashboard and not how.link:
        local.check_dashboard()
    local.quiet()
    os.environ["PATH"] = local.environment()["PATH"]  # guard, report and track run this Python as well
    os.environ[SAID_BY] = "run"
    with _ended_by_sigterm(), _alone():
        return _drive(how)


def _drive(how: How) -> int:
    space, outcome = Workspace(Path.cwd()), Outcome()
    if code := _once(space, "guard"):
        return code
    params = read_params()
    jobs = jobs_of(read_templates())
    above, known = upstream(jobs), lock_entries()
    due, plan = due_of(space, jobs, above, known), make_plan(params)
    if due or how.link:
        shares = needs.shares(plan, params, due, needs.cores_here())
        sweep = Sweep(plan, space, jobs, due, above, known, shares)
        code = 0
        try:
            rest = run_cluster(sweep, how.link, outcome, how.dashboard) if how.link else due
            _run_here(sweep, rest, how, outcome)
        except KeyboardInterrupt:
            code = INTERRUPTED
        finally:
            with _undisturbed():
                write(space, due, known, outcome)
        if code:
            _say(f"interrupted: {len(outcome.done)} of {len(due)} stages are done and kept; the same command goes on")
            return code
    if outcome.failed:
        _say_failed(list(outcome.failed), [name for name in due if name in outcome.left_out])
        return 1
    return _once(space, "report") or _once(space, "track")


def _run_here(sweep: Sweep, due: Mapping[str, Job], how: How, outcome: Outcome) -> None:
    if not due:
        return
    memory = needs.memory_here()
    beside = min(how.beside or needs.default_jobs(needs.cores_here(), memory), len(due))
    local.run_local(due, sweep.above, sweep.known, sweep.shares, beside, memory, how.dashboard, outcome)


def due_of(
    space: Workspace, jobs: Mapping[str, Job], above: Mapping[str, tuple[str, ...]], known: Mapping[str, JSON]
) -> dict[str, Job]:
    """What to run, in the plan's order: what changed, and all that stands on it, which may turn out not to have."""
    changed = {
        job.name for job, it_did in zip(jobs.values(), space.changed(jobs.values(), known), strict=True) if it_did
    }
    found = changed | below(changed, above)
    return {name: job for name, job in jobs.items() if name in found}


def write(space: Workspace, due: Mapping[str, Job], known: Mapping[str, JSON], outcome: Outcome) -> None:
    """The lock entries of what was done, as far as they are new."""
    new = [job for name, job in due.items() if name in outcome.done and outcome.done[name] != known.get(name)]
    space.write_locks(new, outcome.done)


def _once(space: Workspace, name: str) -> int:
    """guard, report or track, by DVC; the exit code."""
    from pipeline.files import read_json

    try:
        space.once(name)
    except StageFailed as failed:
        record = layout.record(name, "")
        if failed.said and record.is_file() and read_json(record).get("reason") == "interrupted":
            return INTERRUPTED
        if not failed.said:
            _say(f"error: {name}: {failed.reason}")
        return 1
    return 0


def _say_failed(failed: list[str], left_out: list[str]) -> None:
    def some(names: list[str]) -> str:
        return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")

    _say(f"failed to reproduce {some(failed)}")
    if left_out:
        _say(f"left out, as they stand on what failed: {some(left_out)}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: stages stop, what is done is kept."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _alone() -> Iterator[None]:
    """One run per folder: two would write the same results. Raises ConfigError where there is one."""
    from filelock import FileLock, Timeout

    RUNNING.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(RUNNING, timeout=0):
            yield
    except Timeout:
        raise ConfigError("another run is at work in this folder", hint="wait for it, or end it") from None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Files that are written in place are not cut off by a second Ctrl-C."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
