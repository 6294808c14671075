"""A sweep on this machine: Dask in this process, stages in its workspace, as many at once as fit."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import dask
from distributed import Client, LocalCluster, get_worker

from pipeline.engine.board import Board
from pipeline.engine.jobs import Job
from pipeline.engine.needs import Share, machine
from pipeline.engine.sweep import TOPIC, Outcome, follow, submit
from pipeline.engine.workspace import StageFailed, workspace
from pipeline.errors import ToolError
from pipeline.harness.parent import PARENT
from pipeline.harness.screen import SHARED
from pipeline.types import JSON

GRACE_S = 1.0  # a terminal's Ctrl-C has reached the stages as well
PATIENCE_S = 10.0
_stopping = threading.Event()


def environment() -> dict[str, str]:
    """What stages get beside this process's own variables: this Python first, and that they are not alone."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {"PATH": path, PARENT: str(os.getpid()), SHARED: "1"}


def run_here(job: Job, root: str, known: JSON | None, env: Mapping[str, str], upstream: Mapping[str, JSON]) -> JSON:
    """The task: one stage in this workspace; its lock entry."""
    if _stopping.is_set():
        raise StageFailed(job.name, "interrupted", True)
    get_worker().log_event(TOPIC, {"name": job.name})
    return workspace(Path(root)).run(job, known, env)


def run_local(
    due: Mapping[str, Job],
    above: Mapping[str, tuple[str, ...]],
    known: Mapping[str, JSON],
    shares: Mapping[str, Share],
    beside: int,
    memory: float,
    dashboard: bool,
    outcome: Outcome,
) -> None:
    """Run what is due, `beside` at once; `outcome` has what ended when it is interrupted, too."""
    root, env = str(Path.cwd()), environment()
    board = Board({name: shares[name] for name in due}, beside)
    try:
        with _cluster(beside, machine(memory), dashboard) as client:
            if dashboard:
                board.say(f"dashboard: {client.dashboard_link}")
            client.subscribe_topic(TOPIC, lambda event: board.event(event[1]))
            futures = submit(
                client,
                due,
                above,
                run_here,
                lambda job: (root, known.get(job.name), env),
                lambda job: shares[job.name].resources(memory),
            )
            try:
                follow(futures, board, outcome)
            except KeyboardInterrupt:
                board.close()
                _stopping.set()
                client.cancel(list(futures.values()), force=True)
                _stop_stages()
                raise
    finally:
        board.close()


@contextmanager
def _cluster(threads: int, resources: Mapping[str, float], dashboard: bool) -> Iterator[Client]:
    quiet()
    with (
        warnings.catch_warnings(action="ignore"),  # that the page's port is taken: it gets another, which is said
        dask.config.set(
            {
                "distributed.worker.memory.target": False,
                "distributed.worker.memory.spill": False,
                "distributed.worker.profile.enabled": dashboard,  # it looks at every thread a hundred times a second
            }
        ),
        LocalCluster(
            n_workers=1,
            threads_per_worker=threads,
            processes=False,
            resources=dict(resources),
            memory_limit=0,
            dashboard_address=f"127.0.0.1:{8787 if dashboard else 0}",
            scheduler_kwargs={"dashboard": dashboard},
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def quiet() -> None:
    """DVC says its warnings alone; Dask nothing: what it would say, a stage's outcome does."""
    for name in ("dvc", "dvc_objects", "dvc_data"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("dvc.output").setLevel(logging.ERROR)  # its warning is of folders that are empty
    silent = (
        "distributed",
        "distributed.client",
        "dvc.progress",
        "bokeh",
        "tornado",
    )  # bars go by their logger's level
    for name in silent:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def check_dashboard() -> None:
    """Raises ToolError where Dask's page has not what it needs."""
    from importlib.util import find_spec

    if find_spec("bokeh") is None:
        raise ToolError("--dashboard needs bokeh, which is not installed", hint="run: python -m pip install bokeh")


def _stop_stages() -> None:
    """End the stages' processes: asked first, then killed."""
    import signal

    import psutil

    time.sleep(GRACE_S)
    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.Error, ValueError):
            child.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    for child in alive:
        with suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(alive, timeout=PATIENCE_S)
