"""Peak memory of a process tree, and what else keeps the machine busy, while a child runs."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import psutil

INTERVAL_S = 0.05


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
