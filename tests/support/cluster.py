"""A scheduler and workers on this machine, each a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.support.tiny import ROOT


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Cluster:
    """Processes end with the block. prefix: what runs a worker elsewhere, by its name."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.folder, self.address = folder, f"tcp://{host}:{free_port()}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        self.folder.mkdir(parents=True, exist_ok=True)
        host, _, port = self.address.removeprefix("tcp://").rpartition(":")
        words = ["-m", "distributed.cli.dask_scheduler", "--host", host, "--port", port, "--no-dashboard"]
        self._start("scheduler", [sys.executable, *words], {})
        return self

    def worker(self, name: str, *words: str, prefix: tuple[str, ...] = (), env: dict[str, str] | None = None) -> None:
        """Start a worker in a folder of its own, with the installed project and no checkout."""
        own = ["worker", self.address, "--name", name, "--local-directory", str(self.folder / name), "-j", "2", *words]
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
