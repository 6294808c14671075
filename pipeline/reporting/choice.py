"""Which package to ship to a target: the Pareto front, the choice among what passes, and why the others lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.matrix.gates import missed, passes
from pipeline.reporting.figures import divergence
from pipeline.reporting.paired import better, remark
from pipeline.reporting.uncertain import KL
from pipeline.rows import PackageRef, Row, Verdict
from pipeline.types import Status

# figure → whether less of it is better
OBJECTIVES = {KL: True, "size_bytes": True, "decode_tokens_per_s": False}
UNTIMED = "quality and size alone: speed was not measured here"
BUSY = "quality and size alone: speed was measured on a busy machine"
SIDE_BY_SIDE: tuple[tuple[str, Callable[[float], str], str, str], ...] = (
    (KL, divergence, "KL ", ""),
    ("size_bytes", lambda value: f"{value / 1e6:,.1f}", "", " MB"),
    ("decode_tokens_per_s", lambda value: f"{value:,.0f}", "", " tokens/s"),
)


@dataclass(frozen=True)
class Closest:
    """The cell that misses its gates by least."""

    id: str
    misses: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """What to ship to a target; `lost` says of every other cell why not, `closest` is there where nothing passes."""

    target: str
    choice: str | None
    package: PackageRef | None
    rests_on: str
    gates: tuple[Verdict, ...]
    front: tuple[str, ...]
    lost: Mapping[str, str]
    closest: Closest | None


def recommend(rows: Sequence[Row], target: str) -> Choice:
    """Of the target's cells that pass every gate, the fastest; the smallest, where speed is not known of all.

    A speed that was measured while other programs kept the machine busy is not known.
    """
    cells = [row for row in rows if row.target == target]
    usable = [row for row in cells if row.status is Status.OK and row.metrics.kl_nats_mean_common is not None]
    passing = [row for row in usable if passes(row.gates)]
    measured = bool(passing) and all(row.metrics.decode_tokens_per_s is not None for row in passing)
    timed = measured and not any(row.noisy for row in passing)
    chosen = min(passing, key=lambda row: _rank(row, timed), default=None)
    front = pareto(usable)
    return Choice(
        target=target,
        choice=chosen.id if chosen else None,
        package=chosen.package if chosen else None,
        rests_on="quality, size and speed" if timed else BUSY if measured else UNTIMED,
        gates=chosen.gates if chosen else (),
        front=tuple(row.id for row in front),
        lost={row.id: _why_lost(row, chosen, front) for row in cells if row is not chosen},
        closest=None if chosen else _closest(usable),
    )


def targets_of(rows: Sequence[Row]) -> list[str]:
    """The targets, in the rows' order."""
    return list(dict.fromkeys(row.target for row in rows))


def pareto(rows: Sequence[Row]) -> list[Row]:
    """The cells that no other of them beats in quality, size and, where both have it, speed; smallest first.

    A larger cell is one of them where its tokens show that it diverges less.
    """
    kept: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.metrics.size_bytes or 0, _number(row, KL))):
        if not any(_beats(other, row) for other in kept):
            kept = [*(other for other in kept if not _beats(row, other)), row]
    return kept


def _beats(one: Row, other: Row) -> bool:
    """Whether one is at least as good as the other in everything, and better in something."""
    ahead = False
    for name, less in OBJECTIVES.items():
        a, b = _known(one, name), _known(other, name)
        if a is None or b is None:
            continue
        order = better(one, other) if name == KL else (a < b) - (a > b) if less else (a > b) - (a < b)
        if order < 0:
            return False
        ahead = ahead or order > 0
    return ahead


def _rank(row: Row, timed: bool) -> tuple[float, float]:
    first = -_number(row, "decode_tokens_per_s") if timed else _number(row, "size_bytes")
    return first, _number(row, KL)


def _known(row: Row, name: str) -> float | None:
    """A figure that a verdict may rest on: no speed of a busy machine."""
    return None if name == "decode_tokens_per_s" and row.noisy else row.metrics.get(name)


def _number(row: Row, name: str) -> float:
    value = _known(row, name)
    return float("inf") if value is None else float(value)


def _why_lost(row: Row, chosen: Row | None, front: Sequence[Row]) -> str:
    """Why it is not shipped: what it misses, what beats it, or what it would give and cost against the chosen one."""
    if row.status is not Status.OK:
        return f"{row.status}: {row.reason}"
    if not passes(row.gates):
        return f"misses {', '.join(missed(row.gates))}"
    if chosen is None or row.metrics.kl_nats_mean_common is None:
        return "its quality was not measured"
    beater = next((other for other in front if _beats(other, row)), None)
    if beater is not None:
        said = f"{beater.id} is as good or better in everything"
        return f"{said}: {against(row, beater)}" if remark(row, beater) else said
    return against(row, chosen)


def against(row: Row, chosen: Row) -> str:
    """`KL 1.3e-3 against 4.2e-2; 3.5 against 5.0 MB`: a cell's beside the chosen one's, where both have them."""
    parts = []
    for name, write, before, behind in SIDE_BY_SIDE:
        own, best = _known(row, name), _known(chosen, name)
        if own is not None and best is not None:
            doubt = f" ({said})" if name == KL and (said := remark(row, chosen)) else ""
            parts.append(f"{before}{write(own)} against {write(best)}{behind}{doubt}")
    return "; ".join(parts)


def _closest(rows: Sequence[Row]) -> Closest | None:
    """The cell whose worst miss is the smallest."""

    def worst(row: Row) -> float:
        return max(
            (-gate.margin for gate in row.gates if gate.passed is False and gate.margin is not None), default=0.0
        )

    row = min(rows, key=worst, default=None)
    return None if row is None else Closest(row.id, tuple(missed(row.gates)))
