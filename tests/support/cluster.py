"""A scheduler and workers on this machine, each a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.support.project import Project
from tests.support.tiny import ROOT


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def drive(project: Project, cluster: Cluster, *words: str) -> subprocess.Popen[str]:
    """A run through the remote `shared`, in a process of its own; what it says is on its stderr."""
    command = ["run", "--scheduler", cluster.address, "--remote", "shared", *words]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command],
        cwd=project.root,
        env={**os.environ, "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


class Cluster:
    """Processes end with the block. tls: flags of Dask, of all of them."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", tls: tuple[str, ...] = ()) -> None:
        self.folder, self.address, self.tls = folder, f"{'tls' if tls else 'tcp'}://{host}:{free_port()}", tls
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.scheduler()
        return self

    def scheduler(self) -> None:
        """Start it, or start it again."""
        host, _, port = self.address.partition("://")[2].rpartition(":")
        words = ["-m", "distributed.cli.dask_scheduler", "--port", port, "--no-dashboard", *self.tls]
        protocol = self.address.partition("://")[0]
        self._start("scheduler", [sys.executable, *words, "--host", f"{protocol}://{host}"], {})

    def worker(self, name: str, *words: str, prefix: tuple[str, ...] = (), env: dict[str, str] | None = None) -> None:
        """Start a worker in a folder of its own, with the installed project and no checkout. prefix: what runs it."""
        own = [
            "worker",
            self.address,
            "--name",
            name,
            "--local-directory",
            str(self.folder / name),
            "-j",
            "2",
            *self.tls,
            *words,
        ]
        self._start(name, [*prefix, sys.executable, "-m", "pipeline", *own], env or {})

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes.pop(name).wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8")

    def _start(self, name: str, command: list[str], env: dict[str, str]) -> None:
        place = self.folder / f"{name}.cwd"
        place.mkdir(exist_ok=True)
        with (self.folder / f"{name}.log").open("wb") as log:
            whole = {**os.environ, "PYTHONPATH": str(ROOT), **env}
            self.processes[name] = subprocess.Popen(command, cwd=place, env=whole, stdout=log, stderr=log)

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
