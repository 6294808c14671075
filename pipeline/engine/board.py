"""What a run of many stages shows: a bar with what runs where and how long it will take; in a log a line a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from pipeline.engine.needs import Share
from pipeline.terminal import width

LONG_S = 60.0


class Board:
    """Of the stages in `shares`, of which `beside` run at once."""

    def __init__(self, shares: Mapping[str, Share], beside: int, stream: TextIO | None = None) -> None:
        self.shares, self.beside, self.stream = shares, beside, stream or sys.stderr
        self.running: dict[str, tuple[str, float]] = {}
        self.open = set(shares)
        self._seconds = {False: 0.0, True: 0.0}  # of what is open; by whether it runs alone
        self._count(shares, 1)
        self._asked = self._took = 0.0
        self._said = time.monotonic()
        self._bar: Any = None
        if self.stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=len(shares), bar_format="{desc}", leave=False, file=self.stream, ncols=width())

    def event(self, said: Mapping[str, Any]) -> None:
        """A worker's word that a stage has begun there, or that it is of no use."""
        if "problem" in said:
            self.say(f"warning: {said['problem']}")
        elif said["name"] in self.open:
            self.running[said["name"]] = (str(said.get("host", "")), time.monotonic())

    def ended(self, name: str) -> None:
        """A stage has ended, in whatever way."""
        if name in self.open:
            self.open.discard(name)
            self._count([name], -1)
        if name in self.running:
            self._took += time.monotonic() - self.running.pop(name)[1]
            self._asked += self.shares[name].seconds
        self.tick()

    def forget(self, names: Iterable[str]) -> None:
        """Stages that are not of this sweep after all."""
        gone = self.open.intersection(names)
        self.open -= gone
        self._count(gone, -1)
        self.shares = {name: share for name, share in self.shares.items() if name in self.open}

    def begin(self, shares: Mapping[str, Share]) -> None:
        """More stages, of which nothing was known before."""
        more = shares.keys() - self.open
        self.shares = {**self.shares, **shares}
        self.open |= more
        self._count(more, 1)

    def tick(self) -> None:
        """Draw again; in a log, if a minute has passed."""
        if self._bar is not None:
            text = self.line()
            self._bar.set_description_str(text if len(text) < width() else f"{text[: width() - 2]}…")
        elif time.monotonic() - self._said >= LONG_S and self.open:
            self._said = time.monotonic()
            self.say(self.line())

    def line(self) -> str:
        """`12 of 87 · about 5 min left · evaluate phi-tiny int4, quantize phi-tiny int8`."""
        done = len(self.shares) - len(self.open)
        shown = [f"{name.replace('@', ' ')}{f' on {host}' if host else ''}" for name, (host, _) in self.running.items()]
        left = f"about {_duration(self.left())} left" if self._took else ""
        return " · ".join(filter(None, (f"{done} of {len(self.shares)}", left, ", ".join(shown))))

    def place(self) -> str:
        """`12 of 87`, of the stage that ends now."""
        return f"{len(self.shares) - len(self.open) + 1} of {len(self.shares)}"

    def left(self) -> float:
        """Seconds to go: what the plan expects, by what it expected wrongly so far; benchmarks one after another."""
        rate = self._took / self._asked if self._asked else 1.0
        return max(0.0, rate * (self._seconds[False] / self.beside + self._seconds[True]))

    def _count(self, names: Iterable[str], sign: int) -> None:
        """A sum that is kept: to add up what is open whenever a stage ends would take the square of their number."""
        for name in names:
            self._seconds[self.shares[name].alone] += sign * self.shares[name].seconds

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self.stream)
        else:
            self.stream.write(f"{text}\n")
            self.stream.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
