"""A backend's runtime in a fresh process, what a user of the package would start, and how much memory it takes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.backends.request import RuntimeRequest
from pipeline.errors import ToolError
from pipeline.types import JSON

TIMEOUT_S = 3600
INTERVAL_S = 0.05


@dataclass(frozen=True)
class Answer:
    """The runtime's answer and the peak memory of its process tree."""

    value: JSON
    peak_rss_bytes: int


def ask_runtime(backend: str, package: Path, request: RuntimeRequest) -> Answer:
    """Start the backend's runtime on a package and wait for its answer. Raises ToolError with its last words."""
    command = [sys.executable, "-m", f"pipeline.backends.{backend}.runtime", str(package)]
    pipe, where = subprocess.PIPE, f"{backend} runtime on {package}"
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, encoding="utf-8") as child,
        TreeWatch(child.pid) as watch,
    ):
        try:
            out, errors = child.communicate(json.dumps(request.to_json()), timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            raise ToolError(
                f"no answer in {TIMEOUT_S:g} s", where=where, hint="stop other programs, or take a smaller model"
            ) from None
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        lines = [line for line in (errors or out).strip().splitlines() if line.strip()]
        ended = f"ended by signal {-child.returncode}" if child.returncode < 0 else f"exit {child.returncode}"
        raise ToolError(lines[-1] if lines else ended, where=where)
    try:
        return Answer(json.loads(out.strip().splitlines()[-1]), watch.peak_rss_bytes)
    except (ValueError, IndexError):
        raise ToolError("it gave no answer", where=where) from None


class TreeWatch:
    """Samples a process and its children: the largest sums seen.

    `peak_rss_bytes` is resident memory; `peak_anon_bytes`, on Linux alone, what of it is no file's: the kernel cannot
    give that back.
    """

    def __init__(self, pid: int) -> None:
        self.peak_rss_bytes = self.peak_anon_bytes = 0
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> TreeWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            rss = anon = 0
            with suppress(psutil.Error):
                for process in (self._process, *self._process.children(recursive=True)):
                    with suppress(psutil.Error):
                        rss += process.memory_info().rss
                        anon += _anonymous(process.pid)
            self.peak_rss_bytes = max(self.peak_rss_bytes, rss)
            self.peak_anon_bytes = max(self.peak_anon_bytes, anon)
            self._stop.wait(INTERVAL_S)


def _anonymous(pid: int) -> int:
    """RssAnon of a process in bytes; 0 where the kernel does not say."""
    with suppress(OSError), Path(f"/proc/{pid}/status").open(encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return 1024 * int(line.split()[1])
    return 0


def busy_cores(seconds: float = 0.5) -> float:
    """Cores that all processes together use, over the next moment: measured while this one sleeps."""
    return psutil.cpu_percent(interval=seconds) / 100 * (psutil.cpu_count() or 1)
