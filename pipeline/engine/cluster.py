"""A sweep on other machines: each stage on a worker that can run it, results by way of a DVC remote."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client

from pipeline import layout
from pipeline.engine import facts
from pipeline.engine.board import Board
from pipeline.engine.devices import measure_devices, wanted
from pipeline.engine.jobs import Job
from pipeline.engine.link import Care, Link, connected, gone, if_there
from pipeline.engine.needs import BENCHMARK, Share
from pipeline.engine.remote import bring_home, check_remote, remote_settings, send
from pipeline.engine.snapshot import snapshot
from pipeline.engine.sweep import Outcome, follow, submit, topic
from pipeline.engine.worker import Copy, run_there, stop_there
from pipeline.engine.workspace import Workspace
from pipeline.errors import ConfigError
from pipeline.files import write_json
from pipeline.planned import Plan
from pipeline.types import JSON


@dataclass
class Sweep:
    """What a driver has: its plan and stages, what DVC knows of them, what they take."""

    plan: Plan
    space: Workspace
    jobs: Mapping[str, Job]
    due: Mapping[str, Job]
    above: Mapping[str, tuple[str, ...]]
    known: Mapping[str, JSON]
    shares: Mapping[str, Share]


def run_cluster(sweep: Sweep, link: Link, outcome: Outcome, dashboard: bool) -> dict[str, Job]:
    """Run what is due on workers and bring it home; what is left for this machine: benchmarks that no other is to take.

    `outcome` has what ended when it is interrupted, too. Speeds of devices are imported last.
    """
    settings, root = remote_settings(sweep.space, link.remote), Path(sweep.space.repo.root_dir)
    check_remote(sweep.space, link.remote)
    (tar, digest), host = _snapshot(root), facts.facts_of(root)
    run, here = f"{digest}-{time.time_ns()}", json.loads(host[facts.MACHINE])
    with connected(link) as client:
        board = Board({name: sweep.shares[name] for name in sweep.due}, max(1, _threads(client)))
        client.subscribe_topic(topic(digest), lambda event: board.event(event[1]))
        if dashboard:
            board.say(_dashboard(client))
        _send_inputs(sweep, link)
        plugin = Copy(tar, digest, host, settings)
        client.register_plugin(plugin)
        workers = _resources(client)
        watch = Care(client, lambda: check_remote(sweep.space, link.remote), board.say)
        try:
            rest = _run_stages(sweep, link, outcome, client, board, watch, workers, host, digest, run)
            entries = {**sweep.known, **outcome.done}
            due = wanted(sweep.plan, sweep.jobs, entries, here)
            measured = measure_devices(client, due, _resources(client), digest, run, sweep.shares, board, watch)
            outcome.failed.update(measured.failed)
        except KeyboardInterrupt:
            with if_there():
                client.run(stop_there, digest)
            raise
        finally:
            board.close()
            with if_there():
                client.unregister_worker_plugin(plugin.name)
    return rest


def _snapshot(root: Path) -> tuple[bytes, str]:
    """The snapshot, and the name of its copies: another driver of the same tree has copies of its own."""
    tar, digest = snapshot(root)
    return tar, hashlib.sha256(f"{digest} {platform.node()} {root}".encode()).hexdigest()[:16]


def _send_inputs(sweep: Sweep, link: Link) -> None:
    """What is here already and workers will read: what due stages stand on, and packages for devices."""
    ready = {name for job in sweep.due for name in sweep.above[job] if name not in sweep.due}
    ready |= {
        f"package@{cell}"
        for cell, entry in sweep.plan.cells.items()
        if entry.benchmark.device and f"package@{cell}" not in sweep.due
    }
    send(sweep.space, [(sweep.jobs[name], sweep.known[name]) for name in sorted(ready)], link.remote)


def _run_stages(
    sweep: Sweep,
    link: Link,
    outcome: Outcome,
    client: Client,
    board: Board,
    watch: Care,
    workers: Mapping[str, Mapping[str, float]],
    host: Mapping[str, str],
    digest: str,
    run: str,
) -> dict[str, Job]:
    like = _like(link, host, workers)
    required = {name: facts.required(job, host, like, digest) for name, job in sweep.due.items()}
    here = {
        name: job
        for name, job in sweep.due.items()
        if job.stage == BENCHMARK and not any(_can(worker, required[name]) for worker in workers.values())
    }
    there = {name: job for name, job in sweep.due.items() if name not in here}
    board.forget(here)
    _say_waiting(board, there, required, workers)
    most = max((worker["memory"] for worker in workers.values() if "memory" in worker), default=float("inf"))

    def arguments(job: Job) -> tuple[Any, ...]:
        makers = {name: sweep.jobs[name] for name in sweep.above[job.name]}
        return digest, makers, {name: sweep.known[name] for name in makers if name not in sweep.due}

    def resources(job: Job) -> dict[str, float]:
        return sweep.shares[job.name].resources(most) | required[job.name]

    futures = submit(client, there, sweep.above, run_there, arguments, resources, run)
    try:
        follow(futures, board, outcome, watch)
    except BaseException:
        board.close()
        with if_there():
            client.cancel(list(futures.values()), force=True)
        raise
    finally:
        _keep(sweep, link, outcome)
    return {name: job for name, job in here.items() if set(sweep.above[name]) & set(sweep.due) <= set(outcome.done)}


def _keep(sweep: Sweep, link: Link, outcome: Outcome) -> None:
    """Records and results of what ended, here."""
    for name, record in outcome.records.items():
        job = sweep.jobs[name]
        write_json(layout.record(job.stage, job.key), record)
    done = [(job, outcome.done[name]) for name, job in sweep.due.items() if name in outcome.done]
    try:
        bring_home(sweep.space, done, link.remote)
    except ConfigError:
        outcome.done.clear()  # nothing half: lock files say what lies here
        raise


def _threads(client: Client) -> int:
    return sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())


def _dashboard(client: Client) -> str:
    if "dashboard" not in client.scheduler_info(n_workers=0).get("services", {}):
        return "dashboard: the scheduler has none; it needs bokeh, and no --no-dashboard"
    return f"dashboard: {client.dashboard_link}"


def _resources(client: Client) -> dict[str, dict[str, float]]:
    """What each worker has declared, by its name."""
    found = client.scheduler_info(n_workers=-1).get("workers")
    if found is None:
        raise gone()
    return {str(worker["name"]): dict(worker["resources"]) for worker in found.values()}


def _can(worker: Mapping[str, float], required: Mapping[str, float]) -> bool:
    return all(worker.get(name, 0.0) >= amount for name, amount in required.items())


def _like(link: Link, host: Mapping[str, str], workers: Mapping[str, Mapping[str, float]]) -> str:
    if not link.like:
        return facts.cpu(host)
    if link.like not in workers:
        raise ConfigError(f"there is no worker '{link.like}'", hint=f"known: {', '.join(sorted(workers)) or 'none'}")
    named = [name for name in workers[link.like] if name.startswith("cpu:")]
    if not named:
        raise ConfigError(f"worker '{link.like}' takes no stage", hint="it says why on its own terminal")
    return named[0] if len(named) == 1 else facts.cpu(host)


def _say_waiting(
    board: Board,
    jobs: Mapping[str, Job],
    required: Mapping[str, Mapping[str, float]],
    workers: Mapping[str, Mapping[str, float]],
) -> None:
    """What no worker can take so far; one that joins later may."""
    names: dict[str, list[str]] = {}
    for name in jobs:
        if any(_can(worker, required[name]) for worker in workers.values()):
            continue
        lacks = [
            fact.partition(":")[0] for fact in required[name] if not any(fact in worker for worker in workers.values())
        ]
        names.setdefault(", ".join(lacks) or "all of them on one worker", []).append(name)
    for missing, which in names.items():
        told = "no worker is there yet" if not workers else f"no worker has, as this machine, {missing}"
        board.say(f"{told}: {len(which)} stages wait, such as {which[0]}")
