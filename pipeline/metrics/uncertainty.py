"""How far a figure can be trusted: standard errors over windows, and intervals. Standard library only.

Tokens of one window are no independent draws, for each depends on those before it: windows are the sampling unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from pipeline.rows import Shared

MOST_NEEDED = 1e9  # tokens; what would take more is no difference
Z95 = 1.959963984540054  # the normal distribution's 97.5th percentile


def standard_error(sums: Sequence[float], tokens: Sequence[int]) -> float | None:
    """The standard error of Σ sums / Σ tokens, a mean per token; None for fewer than two windows.

    A ratio estimator's, each window one draw: sqrt(n/(n-1) Σ (sᵢ - r tᵢ)²) / Σ t (Cochran 1977, Sampling Techniques,
    6.3 to 6.4); with windows of one length the standard deviation of their means over sqrt(n).
    """
    windows, total = len(sums), sum(tokens)
    if windows < 2 or not total:
        return None
    ratio = math.fsum(sums) / total
    squares = math.fsum((own - ratio * count) ** 2 for own, count in zip(sums, tokens, strict=True))
    return math.sqrt(windows / (windows - 1) * squares) / total


def wilson(right: int, count: int, z: float = Z95) -> tuple[float, float]:
    """The interval of a share of `right` of `count`, 95 % by default (Wilson 1927, J. Am. Stat. Assoc. 22: 209-212)."""
    share, weight = right / count, z * z / count
    centre = (share + weight / 2) / (1 + weight)
    reach = z / (1 + weight) * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    return max(0.0, centre - reach), min(1.0, centre + reach)


@dataclass(frozen=True)
class Difference:
    """One build's mean KL less another's on the same `tokens`, in nats per token, with its 95 % interval.

    `low`, `high` and `needed` are None where one window gives no interval; `needed` as well where none would do.
    """

    mean: float
    tokens: int
    low: float | None
    high: float | None
    needed: int | None

    @property
    def shown(self) -> bool | None:
        """Whether these tokens show a difference; None where there is no interval."""
        return None if self.low is None or self.high is None else not self.low <= 0 <= self.high


def paired(own: Shared, its: Shared) -> Difference | None:
    """How two builds differ on the windows that both have; None where these are not the same.

    Both saw the same tokens, so that what makes a window hard for both cancels out: the differences per window are the
    draws. Student's t over them (Student 1908; Cochran 1977, 6.4, for windows of unequal length). `needed` tokens would
    show a difference of that size: the interval's width falls with the root of their number.
    """
    if own.tokens != its.tokens or not own.tokens:
        return None
    sums = [a - b for a, b in zip(own.kl, its.kl, strict=True)]
    tokens = sum(own.tokens)
    mean, error = math.fsum(sums) / tokens, standard_error(sums, own.tokens)
    if error is None:
        return Difference(mean, tokens, None, None, None)
    reach = student_t(len(sums) - 1) * error
    needed = tokens * (reach / mean) ** 2 if mean else math.inf
    return Difference(mean, tokens, mean - reach, mean + reach, math.ceil(needed) if needed < MOST_NEEDED else None)


@cache
def student_t(freedom: int) -> float:
    """The 97.5th percentile of Student's t with whole degrees of freedom, by bisection."""
    low, high = 0.0, 13.0  # 12.706 for one degree
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, freedom) < 0.95 else (low, middle)
    return high


def _inside(t: float, freedom: int) -> float:
    """P(|T| < t): the finite sums of Abramowitz and Stegun 1964, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for step in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (step - 1) / step
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
