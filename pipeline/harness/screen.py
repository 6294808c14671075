"""What a stage shows: its place in the run, a bar while it works and a line with its result; the tools' words apart.

On a terminal every stage has a bar and a line. In a log only the stages that say something of a model do (TELLING), and
what took more than a minute. What tools print goes to records/<stage>/<key>.log, unless PHI_DEPLOY_LOG is DEBUG.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from pipeline.terminal import width

TELLING = ("fetch", "reference", "fit", "evaluate")
LONG_S = 60.0
SHARED = "PHI_DEPLOY_SHARED"  # set where several stages show their lines on one terminal: the bar is the engine's
BESIDE = 36  # columns of a bar beside its title
UNITS = {"evaluate": "sequences", "fit": "builds", "quantize": "matrices", "reference": "sequences"}
DONE, OPEN = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} {unit}, {elapsed}<{remaining}", "{desc}: {elapsed}"


class Screen:
    """Lines and bar of one stage, on the stream that was stderr when it began."""

    def __init__(self, stage: str, key: str, place: str, stream: TextIO) -> None:
        self.stage, self.stream = stage, stream
        self.title = " · ".join(part for part in (place, f"{stage} {key.replace('_', ' ')}".strip()) if part)
        self.live = stream.isatty()
        self._begun = self._said = time.monotonic()
        self._bar: Any = None
        self._over = threading.Event()
        self.shared = self.live and bool(os.environ.get(SHARED))
        if self.live and not self.shared:
            self._open()

    def advance(self, done: int, total: int) -> None:
        """The bar's next step; in a log a plain line, once a minute."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.bar_format, self._bar.total = DONE, total
            self._bar.update(done - self._bar.n)
        elif not self.shared and now - self._said >= LONG_S:
            left = (now - self._begun) * (total - done) / max(done, 1)
            self._said = now
            unit = UNITS.get(self.stage, "")
            self.line(f"{self.title}: {done} of {total} {unit}".rstrip() + f", about {left / 60:.0f} min left")

    def end(self, said: str, always: bool = False) -> None:
        """The last line, where it is worth one."""
        seconds = time.monotonic() - self._begun
        self.close()
        if self.live or always or self.stage in TELLING or seconds >= LONG_S:
            took = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
            self.line(" · ".join(part for part in (self.title, said, took) if part))

    def line(self, text: str) -> None:
        self.stream.write(f"\r\x1b[K{text}\n" if self.shared else f"{text}\n")
        self.stream.flush()

    def close(self) -> None:
        """Take the bar away."""
        self._over.set()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open(self) -> None:
        from tqdm import tqdm

        unit, room = UNITS.get(self.stage, ""), width() - BESIDE
        title = self.title if len(self.title) <= room else f"{self.title[: room - 1]}…"
        self._bar = tqdm(
            desc=title, bar_format=OPEN, unit=unit, leave=False, file=self.stream, ncols=width(), smoothing=0
        )
        threading.Thread(target=self._tick, args=(self._bar,), daemon=True).start()

    def _tick(self, bar: Any) -> None:
        """A clock that moves while a tool says nothing."""
        while not self._over.wait(1.0):
            with suppress(Exception):
                bar.refresh()


@contextmanager
def tools_apart(log: Path, apart: bool = True) -> Iterator[TextIO]:
    """Send what is printed to `log`, by whatever code; yields the stream that was stderr. An empty log is removed."""
    ours = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    kept: list[int] = []
    try:
        with suppress(OSError):  # where the log cannot be written, all goes the usual way
            if apart:
                _flush()
                log.parent.mkdir(parents=True, exist_ok=True)
                with log.open("wb") as file:
                    kept = [os.dup(1), os.dup(2)]
                    os.dup2(file.fileno(), 1)
                    os.dup2(file.fileno(), 2)
        yield ours
    finally:
        _flush()
        for target, descriptor in enumerate(kept, 1):
            os.dup2(descriptor, target)
            os.close(descriptor)
        ours.close()
        with suppress(OSError):
            if kept and not log.stat().st_size:
                log.unlink()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
