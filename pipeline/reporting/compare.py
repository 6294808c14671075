"""What changed between two runs: cells, their figures, and what is shipped to each target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.matrix.gates import missed
from pipeline.metrics.uncertainty import Z95, paired
from pipeline.reporting.choice import recommend, targets_of
from pipeline.reporting.figures import FLOOR, status
from pipeline.reporting.uncertain import KL, TASKS, error_of
from pipeline.rows import Row

FIGURES = (
    "size_bytes",
    "kl_nats_mean_common",
    "top1_agreement_common",
    "task_accuracy_common",
    "tasks_passed_common",
    "decode_tokens_per_s",
    "ttft_ms_p50",
    "peak_rss_bytes",
)
SPEED = ("decode_tokens_per_s", "ttft_ms_p50", "peak_rss_bytes")
STEADY = 0.05  # a speed that changes by less is the same: what runs on a quiet machine differ by


@dataclass(frozen=True)
class Change:
    """A figure before and now; `reason` says why the two cannot be compared, where they cannot.

    `low` and `high` are the 95 % interval of now − before, where the figures' errors are known.
    """

    metric: str
    before: float | None
    now: float | None
    reason: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def same(self) -> bool:
        """Whether both are one figure, but for the order in which it was added up."""
        if self.before is None or self.now is None:
            return self.before is self.now
        return math.isclose(self.before, self.now, rel_tol=1e-9)

    @property
    def relative(self) -> float | None:
        """By how much it changed, of what it was."""
        return self.now / self.before - 1 if self.before and self.now is not None else None

    @property
    def shown(self) -> bool:
        """Whether the tokens show a difference: the interval, where there is one, leaves out zero."""
        return self.low is None or self.high is None or self.low > 0 or self.high < 0

    @property
    def moved(self) -> bool:
        """Whether it changed, in a way that can be compared."""
        if self.reason or self.same:
            return False
        if self.metric == KL and max(self.before or 0.0, self.now or 0.0) <= FLOOR:
            return False  # rounding
        if not self.shown:
            return False
        change = self.relative
        if change is None or self.metric not in SPEED:
            return True
        return abs(change) >= STEADY


@dataclass(frozen=True)
class CellChange:
    """A cell of both runs; a status is `ok`, `gate` where it misses one, or why there is no package."""

    id: str
    before: str
    now: str
    misses: tuple[str, ...]
    figures: tuple[Change, ...]

    @property
    def changed(self) -> bool:
        return self.before != self.now or any(change.moved for change in self.figures)


@dataclass(frozen=True)
class VerdictChange:
    """What `recommend` ships to a target; None where nothing passes, or the target is of one run alone."""

    target: str
    before: str | None
    now: str | None


@dataclass(frozen=True)
class Comparison:
    """A run against another one, `base`."""

    base: str
    added: tuple[str, ...]
    gone: tuple[str, ...]
    verdicts: tuple[VerdictChange, ...]
    cells: tuple[CellChange, ...]

    @property
    def changed(self) -> tuple[CellChange, ...]:
        return tuple(cell for cell in self.cells if cell.changed)


def compare(base: str, before: Sequence[Row], now: Sequence[Row]) -> Comparison:
    """The run of `now` against the one of `before`, which is called `base`."""
    old, new = ({row.id: row for row in rows} for rows in (before, now))
    targets = dict.fromkeys([*targets_of(now), *targets_of(before)])
    return Comparison(
        base=base,
        added=tuple(cell for cell in new if cell not in old),
        gone=tuple(cell for cell in old if cell not in new),
        verdicts=tuple(
            VerdictChange(target, *(recommend(rows, target).choice for rows in (before, now))) for target in targets
        ),
        cells=tuple(_cell(old[cell], row) for cell, row in new.items() if cell in old),
    )


def _cell(before: Row, now: Row) -> CellChange:
    return CellChange(
        id=now.id,
        before=status(before),
        now=status(now),
        misses=tuple(missed(now.gates)),
        figures=tuple(_change(before, now, metric) for metric in FIGURES),
    )


def _change(before: Row, now: Row, metric: str) -> Change:
    old, new = before.metrics.get(metric), now.metrics.get(metric)
    if old is None or new is None:
        return Change(metric, old, new)
    reason = _why_not(before, now, metric)
    low, high = (None, None) if reason else difference(before, now, metric)
    return Change(metric, old, new, reason, low, high)


def difference(before: Row, now: Row, metric: str) -> tuple[float | None, float | None]:
    """The 95 % interval of now − before: KL window by window; top-1, whose windows are not kept, as if unpaired."""
    if metric == KL:
        found = paired(now.shared, before.shared) if before.shared and now.shared else None
        return (found.low, found.high) if found else (None, None)
    old, new = (row.metrics.get(metric) for row in (before, now))
    errors = error_of(before, metric), error_of(now, metric)
    if old is None or new is None or errors[0] is None or errors[1] is None:
        return None, None
    reach = Z95 * math.hypot(errors[0], errors[1])
    return new - old - reach, new - old + reach


def _why_not(before: Row, now: Row, metric: str) -> str:
    """Why two figures say nothing about each other, or nothing."""
    if metric in SPEED:
        if before.measured_on != now.measured_on:
            return "another machine"
        return "a busy machine" if before.noisy or now.noisy else ""
    if metric == "size_bytes":
        return ""
    if metric == TASKS:
        return "other tasks" if before.settings.get("tasks") != now.settings.get("tasks") else ""
    if before.settings.get("data") != now.settings.get("data"):
        return "other data"
    return "other tokens" if before.metrics.common_tokens != now.metrics.common_tokens else ""
