"""What to ship to a target, in sentences: what it is, what it costs, and what one would get instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.matrix.gates import missed, passes
from pipeline.reporting.choice import Choice, recommend
from pipeline.reporting.figures import FLOOR
from pipeline.reporting.paired import better, remark
from pipeline.reporting.uncertain import KL, written
from pipeline.rows import Row
from pipeline.types import Status

UNITS = {"size_bytes": " MB", "decode_tokens_per_s": " tokens/s", "top1_agreement_common": " % top-1"}


@dataclass(frozen=True)
class Said:
    """A verdict: `lead` says what to ship and why, `costs` what it gives away, `instead` the nearest others."""

    target: str
    choice: Choice
    lead: str
    costs: str
    instead: tuple[str, ...]


def verdict(rows: Sequence[Row], target: str) -> Said:
    """What `recommend` chooses for a target, said; nothing is ranked here."""
    choice = recommend(rows, target)
    cells = [row for row in rows if row.target == target]
    chosen = next((row for row in cells if row.id == choice.choice), None)
    if chosen is None:
        return Said(target, choice, _nothing(choice, cells), "", ())
    return Said(target, choice, _lead(choice, chosen, cells), _costs(chosen, cells), _instead(chosen, cells))


def called(row: Row, rows: Sequence[Row]) -> str:
    """`int4 openvino`; with the model before it where there are several."""
    words = (row.shown, row.backend)
    return " ".join((row.model, *words) if len({other.model for other in rows}) > 1 else words)


def figure(row: Row, metric: str) -> str:
    """A figure with its error and unit: `3.5 MB`, `KL 1.4e-3 ± 0.1e-3 nats`."""
    return f"KL {written(row, metric)} nats" if metric == KL else f"{written(row, metric)}{UNITS[metric]}"


def _nothing(choice: Choice, cells: Sequence[Row]) -> str:
    if choice.closest is None:
        return "Nothing can be shipped: no cell was evaluated and packaged."
    row = next(row for row in cells if row.id == choice.closest.id)
    missed_by = ", ".join(choice.closest.misses)
    return f"Nothing passes its gates. Closest is {called(row, cells)}: it misses {missed_by}."


def _lead(choice: Choice, chosen: Row, cells: Sequence[Row]) -> str:
    passing = [row for row in _usable(cells) if passes(row.gates)]
    metrics = ["size_bytes", "kl_nats_mean_common", "top1_agreement_common"]
    if chosen.metrics.decode_tokens_per_s is not None and not chosen.noisy:
        metrics.append("decode_tokens_per_s")
    word = "fastest" if choice.rests_on == "quality, size and speed" else "smallest"
    rank = f"the {word} of the {len(passing)} within the gates" if len(passing) > 1 else "it alone is within the gates"
    if not chosen.gates:
        rank = f"the {word} of {len(passing)}; the target has no gates" if len(passing) > 1 else "the only one"
    return f"Ship {called(chosen, cells)}: {rank}; {', '.join(figure(chosen, metric) for metric in metrics)}."


def _costs(chosen: Row, cells: Sequence[Row]) -> str:
    """Against the same backend in fp32: bytes, speed, and the tokens that are others."""
    base = next((row for row in _usable(cells) if row.backend == chosen.backend and row.precision == "fp32"), None)
    parts = []
    agreement = chosen.metrics.top1_agreement_common
    if agreement is not None and round(agreement, 4) < 1:
        parts.append(f"{100 * (1 - agreement):.2g} of 100 tokens are not those of the reference")
    if base is not None and base is not chosen:
        for metric, words in (("size_bytes", "bytes"), ("decode_tokens_per_s", "decode speed")):
            own, its = chosen.metrics.get(metric), base.metrics.get(metric)
            if own and its and not (metric == "decode_tokens_per_s" and (chosen.noisy or base.noisy)):
                parts.append(f"{own / its:.2g} of the {words} of {base.backend}'s fp32")
    return f"What it costs and brings: {', '.join(parts)}." if parts else ""


def _instead(chosen: Row, cells: Sequence[Row]) -> tuple[str, ...]:
    """The best of the smaller ones, and the smallest of the better ones."""
    size, kl = chosen.metrics.size_bytes, chosen.metrics.kl_nats_mean_common
    others = [row for row in _usable(cells) if row is not chosen and row.metrics.size_bytes]
    if not size or kl is None:
        return ()
    smaller = min((row for row in others if _size(row) < size and better(row, chosen) <= 0), key=_kl, default=None)
    finer = [row for row in others if better(row, chosen) > 0]
    closest = min(finer, key=lambda row: (_size(row), _kl(row)), default=None)
    found = [row for row in (smaller, closest) if row is not None]
    return tuple(f"{called(row, cells)} is {_size_against(row, size)} and {_kl_against(row, chosen)}." for row in found)


def _size_against(row: Row, size: int) -> str:
    change = _size(row) / size - 1
    if abs(change) < 0.005:
        return "of the same size"
    if change >= 1:
        return f"{change + 1:.2g} × as large"
    return f"{abs(change):.0%} {'smaller' if change < 0 else 'larger'}".replace("%", " %")


def _kl_against(row: Row, chosen: Row) -> str:
    own, kl = _kl(row), _kl(chosen)
    miss = f"; it misses {', '.join(missed(row.gates))}" if not passes(row.gates) else ""
    if own <= FLOOR:
        return "equal to the reference but for rounding" + miss
    if better(row, chosen) == 0:
        return (remark(row, chosen) or "of the same KL") + miss
    if kl <= FLOOR:
        return f"at {figure(row, 'kl_nats_mean_common')}{miss}"
    return (f"{own / kl:.2g} × worse (KL)" if own > kl else f"{kl / own:.2g} × better (KL)") + miss


def _usable(cells: Sequence[Row]) -> list[Row]:
    return [row for row in cells if row.status is Status.OK and row.metrics.kl_nats_mean_common is not None]


def _size(row: Row) -> float:
    return float(row.metrics.size_bytes or 0)


def _kl(row: Row) -> float:
    return float(row.metrics.kl_nats_mean_common or 0.0)
