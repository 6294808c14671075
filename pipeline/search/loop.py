"""Choose, build, measure, correct, choose again: what is shipped was measured, and predictions only lead there.

A prediction Σ α t² is right in its order, and off by a factor that a backend's trials tell: KL = scale · prediction ^
exponent (1 and 1 at first, the scale from one trial, both from two). Errors add up where they are small; the exponent
is what they do besides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import QualityError
from pipeline.found import Point, Trial
from pipeline.search.choice import Solution, Variants, best, frontier, smallest
from pipeline.search.exchange import Exchange, Measured, Tried, worth_exchanging

AIM = 0.97  # of a bound, so that a small miss is none
NEAR = 0.85  # of the bound: what lies between it and the bound is not worth another build
EXPONENTS = (0.7, 1.7)
APART = math.log(2)  # what two predictions must differ by to tell an exponent
MB = 1e6


@dataclass(frozen=True)
class Limits:
    """How many trials a search may take, and how many exchanges behind them; `weights` of all matrices it is for."""

    builds: int
    exchanges: int = 0
    weights: int = 0


@dataclass
class Calibration:
    """KL = scale · prediction ^ exponent, as the trials so far have it."""

    scale: float = 1.0
    exponent: float = 1.0
    seen: list[tuple[float, float]] = field(default_factory=list)

    def add(self, predicted: float, measured: float) -> None:
        """One more trial; the last one is met exactly."""
        if predicted <= 0 or measured <= 0:
            return
        self.seen.append((predicted, measured))
        (x, y), others = self.seen[-1], self.seen[:-1]
        if others:
            a, b = max(others, key=lambda pair: abs(math.log(pair[0] / x)))
            if abs(math.log(a / x)) > APART:
                slope = math.log(b / y) / math.log(a / x)
                self.exponent = min(max(slope, EXPONENTS[0]), EXPONENTS[1])
        self.scale = y / x**self.exponent

    def kl(self, predicted: float) -> float:
        """The KL to expect of a prediction."""
        return float(self.scale * max(predicted, 0.0) ** self.exponent)

    def prediction(self, kl: float) -> float:
        """The prediction whose KL is to be expected: the inverse."""
        return float((kl / self.scale) ** (1 / self.exponent))


def search(
    variants: Variants,
    sensitivity: Mapping[str, float],
    bounds: Mapping[str, float],
    measure: Callable[[Mapping[str, str]], Measured],
    limits: Limits,
) -> dict[str, Any]:
    """The fields of a `found.Fit`: the table of formats and how it was found, in as many trials as `limits` has.

    bounds: max_kl_nats, min_top1_agreement, max_perplexity_increase, max_package_mb, as far as they are there. With a
    bound on quality the smallest build is looked for, otherwise the best one within the size. Raises QualityError where
    nothing measured is within the bounds, with the best that can be had.
    """
    fitted, tried = Calibration(), list[Tried]()
    by_quality = _by_quality(bounds)
    allowed, most = float(bounds.get("max_kl_nats", math.inf if not by_quality else 1.0)), bounds.get("max_package_mb")
    for _ in range(limits.builds):
        solution = _next(variants, sensitivity, fitted, allowed, most if not by_quality else None, tried)
        if solution is None or any(solution.table == old.solution.table for old in tried):
            break
        found = measure(solution.table)
        tried.append(Tried(solution, fitted.kl(solution.predicted), found))
        fitted.add(solution.predicted, found.kl_nats_mean)
        if by_quality:
            allowed = min(allowed, _allowed(found, bounds))
            if meets(found, bounds) and found.kl_nats_mean >= NEAR * allowed:
                break
        elif meets(found, bounds):
            break
    chosen = _chosen(tried, bounds)
    fails = chosen is None or worth_exchanging(tried[chosen], limits.weights)
    if tried and limits.exchanges and fails:
        room = max((each.solution.bits for each in tried if meets(each.found, bounds)), default=0)
        steps = Exchange(variants, sensitivity, AIM * allowed if by_quality else None)
        tried += steps.taken(tried, room, measure, limits.exchanges)
        chosen = _chosen(tried, bounds)
    if chosen is None:
        raise QualityError(_nothing(tried, bounds), hint="loosen the bounds, or give the recipe wider formats")
    points = tuple(Point(s.bits, fitted.kl(s.predicted)) for s in frontier(variants, sensitivity))
    return {
        "table": dict(tried[chosen].solution.table),
        "bounds": dict(bounds),
        "trials": tuple(_trial(each) for each in tried),
        "chosen": chosen,
        "scale": fitted.scale,
        "exponent": fitted.exponent,
        "frontier": points,
    }


def _next(
    variants: Variants,
    sensitivity: Mapping[str, float],
    fitted: Calibration,
    allowed: float,
    room: float | None,
    tried: Sequence[Tried],
) -> Solution | None:
    """What to build next: the smallest that is expected within `allowed` nats, or the best within `room` megabytes."""
    if room is not None:
        beside = max((each.found.build_bytes - each.solution.bits // 8 for each in tried), default=0)
        return best(variants, sensitivity, int(8 * (room * MB - beside)))
    widest = sum(max(v.bits for v in formats.values()) for formats in variants.values())
    return smallest(variants, sensitivity, fitted.prediction(AIM * allowed)) or best(variants, sensitivity, widest)


def _allowed(found: Measured, bounds: Mapping[str, float]) -> float:
    """The KL at which a build should meet its other bounds too, from what one has: disagreement goes with its root."""
    allowed = math.inf
    if (least := bounds.get("min_top1_agreement")) is not None and found.top1_agreement < least:
        allowed = found.kl_nats_mean * ((1 - least) / (1 - found.top1_agreement)) ** 2
    most = bounds.get("max_perplexity_increase")
    if most is not None and found.perplexity_increase > most:
        allowed = min(allowed, found.kl_nats_mean * most / found.perplexity_increase)
    return allowed


def _by_quality(bounds: Mapping[str, float]) -> bool:
    return any(name != "max_package_mb" for name in bounds)


def rank(found: Measured, bounds: Mapping[str, float]) -> float:
    """Of builds within the bounds the least is chosen: the smallest, or where only size is bounded the best."""
    return found.build_bytes if _by_quality(bounds) else found.kl_nats_mean


def meets(found: Measured, bounds: Mapping[str, float]) -> bool:
    """Whether a build is within the bounds."""
    return (
        found.kl_nats_mean <= bounds.get("max_kl_nats", math.inf)
        and found.top1_agreement >= bounds.get("min_top1_agreement", 0.0)
        and found.perplexity_increase <= bounds.get("max_perplexity_increase", math.inf)
        and found.build_bytes <= MB * bounds.get("max_package_mb", math.inf)
    )


def _chosen(tried: Sequence[Tried], bounds: Mapping[str, float]) -> int | None:
    within = [number for number, each in enumerate(tried) if meets(each.found, bounds)]
    return min(within, key=lambda number: rank(tried[number].found, bounds), default=None)


def _nothing(tried: Sequence[Tried], bounds: Mapping[str, float]) -> str:
    """What cannot be had, and the best that can."""
    asked = ", ".join(f"{name} {value:g}" for name, value in bounds.items())
    if not tried:
        return f"nothing is within {asked}: the smallest formats take more"
    found = min((each.found for each in tried), key=lambda found: found.kl_nats_mean)
    had = (
        f"KL {found.kl_nats_mean:.2g} nats, top-1 {found.top1_agreement:.1%}, perplexity "
        f"{found.perplexity_increase:+.1%} at {found.build_bytes / MB:,.1f} MB"
    )
    return f"nothing is within {asked}; the best of {len(tried)} builds has {had}"


def _trial(tried: Tried) -> Trial:
    return Trial(
        formats=dict(sorted(Counter(tried.solution.table.values()).items())),
        weight_bits=tried.solution.bits,
        build_bytes=tried.found.build_bytes,
        predicted=tried.expected,
        kl_nats_mean=tried.found.kl_nats_mean,
        top1_agreement=tried.found.top1_agreement,
        perplexity_increase=tried.found.perplexity_increase,
        exchange=tried.exchange,
    )
