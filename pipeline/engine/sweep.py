"""A sweep on Dask: one task per stage that is due, and what came of each. Which worker, and when, is Dask's."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from distributed import Client, Future

from pipeline.engine.board import Board
from pipeline.engine.jobs import Job
from pipeline.engine.workspace import StageFailed
from pipeline.errors import first_line
from pipeline.types import JSON

TOPIC = "phi-deploy"
TICK_S = 1.0


def topic(digest: str) -> str:
    """Under which a worker tells the driver whose copy has that digest what it does."""
    return f"{TOPIC}-{digest}"


@dataclass
class Outcome:
    """Lock entries of what was done, reasons of what failed, and what did not run because of it.

    records: what stages say of themselves that ran elsewhere; measured: speeds of other devices.
    """

    done: dict[str, JSON] = field(default_factory=dict)
    records: dict[str, JSON] = field(default_factory=dict)
    measured: dict[str, JSON] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def submit(
    client: Client,
    due: Mapping[str, Job],
    above: Mapping[str, tuple[str, ...]],
    task: Callable[..., JSON],
    arguments: Callable[[Job], tuple[Any, ...]],
    resources: Callable[[Job], Mapping[str, float]],
    run: str = "",
) -> dict[str, Future]:
    """A task per job: `task(job, *arguments(job), entries of what it stands on)`; benchmarks come last.

    `run` tells runs apart.
    """
    futures: dict[str, Future] = {}
    for name, job in due.items():
        upstream = {maker: futures[maker] for maker in above[name] if maker in futures}
        futures[name] = client.submit(
            task,
            job,
            *arguments(job),
            upstream,
            key=(job.stage, f"{job.key}-{run}"),
            pure=False,
            resources=dict(resources(job)),
            priority=-1 if job.stage == "benchmark" else 0,
        )
    return futures


class Watch(Protocol):
    """What looks after a sweep: both may raise what ends it."""

    def idle(self) -> None:
        """While no stage ends."""

    def failed(self, error: BaseException | None) -> None:
        """Before it is said that a stage failed."""


def follow(futures: Mapping[str, Future], board: Board, outcome: Outcome, watch: Watch | None = None) -> None:
    """Wait for all of them; `outcome` is filled as they end."""
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name, future in futures.items():
        future.add_done_callback(lambda _, name=name: names.put(name))
    waiting = set(futures)
    while waiting:
        try:
            name = names.get(timeout=TICK_S)
        except queue.Empty:
            board.tick()
            if watch:
                watch.idle()
            continue
        waiting.discard(name)
        if watch and futures[name].status != "finished":
            watch.failed(_error(futures[name]))
        _settle(name, futures[name], board, outcome)
        board.ended(name)


def _error(future: Future) -> BaseException | None:
    """None of a task that was lost or cancelled."""
    error: BaseException | None = future.exception() if future.status == "error" else None
    return error


def _settle(name: str, future: Future, board: Board, outcome: Outcome) -> None:
    if future.status == "finished":
        made = future.result()
        if "host" not in made:  # here, where the stage has shown its own line
            outcome.done[name] = made
            return
        if "file" in made:
            outcome.measured[name] = made
            return
        outcome.done[name] = made["entry"]
        record = made["record"]
        if record:
            outcome.records[name] = record
        took = f"{record['seconds']:.0f} s" if record else "from the remote"
        board.say(f"{board.place()} · {name.replace('@', ' ').replace('_', ' ')} · on {made['host']} · {took}")
        return
    error = _error(future)
    if isinstance(error, StageFailed):
        if error.name != name:
            outcome.left_out[name] = f"{error.name} failed"
            return
        outcome.failed[name] = error.reason
        if error.record:
            outcome.records[name] = error.record
        if not error.said:
            board.say(f"error: {name}: {error.reason}")
        return
    reason = first_line(error) if error else "it was lost"
    outcome.failed[name] = reason
    board.say(f"error: {name}: {reason}")
