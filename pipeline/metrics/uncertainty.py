"""How far a figure can be trusted: standard errors over windows, and intervals. Standard library only.

Tokens of one window are no independent draws, for each depends on those before it: windows are the sampling unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
