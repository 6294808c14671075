"""Peak memory of a process tree, and what else keeps the machine busy, while a child runs."""

from __future__ import annotations

import threading
from contextlib import suppress

import psutil

INTERVAL_S = 0.05


class TreeWatch:
    """Samples a process and its children: `peak_rss_bytes` is the largest sum seen."""

    def __init__(self, pid: int) -> None:
        self.peak_rss_bytes = 0
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
            self.peak_rss_bytes = max(self.peak_rss_bytes, self._rss())
            self._stop.wait(INTERVAL_S)

    def _rss(self) -> int:
        total = 0
        with suppress(psutil.Error):
            for process in (self._process, *self._process.children(recursive=True)):
                with suppress(psutil.Error):
                    total += process.memory_info().rss
        return total


def busy_cores(seconds: float = 0.5) -> float:
    """Cores that all processes together use, over the next moment: measured while this one sleeps."""
    return psutil.cpu_percent(interval=seconds) / 100 * (psutil.cpu_count() or 1)
