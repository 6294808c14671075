"""The formats to take: a multiple-choice knapsack, solved exactly (Sinha & Zoltners 1979; HiGHS, by scipy).

Each matrix takes one of its formats. Either the fewest bits whose predicted KL is within a bound, or the least
predicted KL within a number of bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.found import Variant

if TYPE_CHECKING:
    from collections.abc import Sequence

Variants = Mapping[str, Mapping[str, Variant]]
NOTHING = 1e-12  # nats: what a bound of 0 is taken for


@dataclass(frozen=True)
class Solution:
    """A format for each matrix, the bits of all of them, and the KL that they are predicted to cost (nats)."""

    table: Mapping[str, str]
    bits: int
    predicted: float


def cost(variant: Variant, sensitivity: Mapping[str, float]) -> float:
    """Σ α · t² over the uses of a matrix, in nats."""
    return sum(sensitivity[use] * error for use, error in variant.errors.items())


def smallest(variants: Variants, sensitivity: Mapping[str, float], bound: float) -> Solution | None:
    """The fewest bits with a predicted KL of at most `bound` nats; None where nothing is within it."""
    return _solve(variants, sensitivity, most_cost=max(bound, NOTHING))


def best(variants: Variants, sensitivity: Mapping[str, float], bits: int) -> Solution | None:
    """The least predicted KL within `bits`; None where even the smallest formats take more."""
    return _solve(variants, sensitivity, most_bits=bits)


def prune(variants: Mapping[str, Variant], sensitivity: Mapping[str, float]) -> dict[str, Variant]:
    """The formats that no other beats in both bits and cost."""
    ordered = sorted(variants.items(), key=lambda item: (item[1].bits, cost(item[1], sensitivity), item[0]))
    kept: dict[str, Variant] = {}
    least = float("inf")
    for name, variant in ordered:
        if cost(variant, sensitivity) < least:
            kept[name], least = variant, cost(variant, sensitivity)
    return kept


def _solve(
    variants: Variants, sensitivity: Mapping[str, float], most_cost: float | None = None, most_bits: int | None = None
) -> Solution | None:
    import numpy as np
    from scipy.optimize import LinearConstraint, milp
    from scipy.sparse import lil_matrix

    pruned = {matrix: prune(formats, sensitivity) for matrix, formats in variants.items()}
    items = [(matrix, name, v) for matrix, formats in pruned.items() for name, v in formats.items()]
    numbers = {matrix: number for number, matrix in enumerate(pruned)}
    one_each = lil_matrix((len(numbers), len(items)))
    for column, (matrix, _, _) in enumerate(items):
        one_each[numbers[matrix], column] = 1
    bits = np.asarray([v.bits for _, _, v in items], float)
    costs = np.asarray([cost(v, sensitivity) for _, _, v in items])
    size, worth = bits.sum() / len(items), costs.max() or 1.0  # both near 1, as solvers like it
    if most_cost is not None:
        limit, goal = LinearConstraint(costs[None] / most_cost, ub=1), bits / size
    else:
        limit, goal = LinearConstraint(bits[None] / size, ub=(most_bits or 0) / size), costs / worth
    exactly = LinearConstraint(one_each.tocsr(), 1, 1)
    options = {"mip_rel_gap": 1e-4, "time_limit": 20}
    done = milp(goal, constraints=[exactly, limit], integrality=np.ones(len(items)), bounds=(0, 1), options=options)
    if done.x is None:
        return None
    taken = [item for item, x in zip(items, done.x, strict=True) if x > 0.5]
    return Solution(
        {matrix: name for matrix, name, _ in taken},
        sum(v.bits for _, _, v in taken),
        sum(cost(v, sensitivity) for _, _, v in taken),
    )


def frontier(variants: Variants, sensitivity: Mapping[str, float], points: int = 24) -> Sequence[Solution]:
    """Solutions from the smallest to the best, evenly spread over the bits between."""
    pruned = {matrix: list(prune(formats, sensitivity).values()) for matrix, formats in variants.items()}
    low = sum(formats[0].bits for formats in pruned.values())
    high = sum(formats[-1].bits for formats in pruned.values())
    steps = [low + (high - low) * step // (points - 1) for step in range(points)]
    found = (best(variants, sensitivity, bits) for bits in steps)
    return [solution for solution in found if solution is not None]
