"""Which package to ship to a target: the Pareto front, the choice among what passes, and why the others lost."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.matrix.gates import missed, passes
from pipeline.types import JSON, Status

# figure → whether less of it is better
OBJECTIVES = {"kl_nats_mean_common": True, "size_bytes": True, "decode_tokens_per_s": False}


def recommend(records: Sequence[JSON], target: str) -> JSON:
    """{target, choice, rests_on, gates, front, lost, closest} of one target's cells.

    Of the cells that pass every gate, the fastest is chosen; the smallest, where speed was not measured for all
    of them. `closest` is what misses by least where nothing passes.
    """
    cells = [r for r in records if r["target"] == target]
    usable = [r for r in cells if r["status"] == Status.OK and r["metrics"]["kl_nats_mean_common"] is not None]
    front = pareto(usable)
    passing = [record for record in usable if passes(record["gates"])]
    timed = bool(passing) and all(record["metrics"]["decode_tokens_per_s"] is not None for record in passing)
    chosen = min(passing, key=lambda record: _rank(record, timed), default=None)
    return {
        "target": target,
        "choice": chosen["id"] if chosen else None,
        "package": chosen["package"] if chosen else None,
        "rests_on": "quality, size and speed" if timed else "quality and size alone: speed was not measured here",
        "gates": chosen["gates"] if chosen else [],
        "front": [record["id"] for record in front],
        "lost": {record["id"]: _why_lost(record, chosen, timed) for record in cells if record is not chosen},
        "closest": _closest(usable) if not chosen else None,
    }


def pareto(records: Sequence[JSON]) -> list[JSON]:
    """The cells that no other beats in quality, size and, where both have it, speed; smallest first."""
    kept = [one for one in records if not any(_beats(other, one) for other in records if other is not one)]
    return sorted(kept, key=lambda record: record["metrics"]["size_bytes"])


def _beats(one: JSON, other: JSON) -> bool:
    """Whether one is at least as good as the other in everything, and better in something."""
    better = False
    for name, less in OBJECTIVES.items():
        a, b = one["metrics"][name], other["metrics"][name]
        if a is None or b is None:
            continue
        if (a > b) if less else (a < b):
            return False
        better = better or a != b
    return better


def _rank(record: JSON, timed: bool) -> tuple[float, float]:
    metrics = record["metrics"]
    first = -metrics["decode_tokens_per_s"] if timed else metrics["size_bytes"]
    return first, metrics["kl_nats_mean_common"]


def _why_lost(record: JSON, chosen: JSON | None, timed: bool) -> str:
    if record["status"] != Status.OK:
        return f"{record['status']}: {record['reason']}"
    if not passes(record["gates"]):
        return f"misses {', '.join(missed(record['gates']))}"
    if chosen is None or record["metrics"]["kl_nats_mean_common"] is None:
        return "its quality was not measured"
    own, best = record["metrics"], chosen["metrics"]
    if timed:
        return f"slower: {own['decode_tokens_per_s']:,.0f} against {best['decode_tokens_per_s']:,.0f} tokens/s"
    if own["size_bytes"] == best["size_bytes"]:
        return "as large, and no better in quality"
    return f"larger: {own['size_bytes'] / 1e6:,.1f} against {best['size_bytes'] / 1e6:,.1f} MB"


def _closest(records: Sequence[JSON]) -> JSON | None:
    """The cell whose worst miss is the smallest."""

    def worst(record: JSON) -> float:
        return max((-gate["margin"] for gate in record["gates"] if gate["passed"] is False), default=0.0)

    record = min(records, key=worst, default=None)
    return None if record is None else {"id": record["id"], "misses": missed(record["gates"])}
