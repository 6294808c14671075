"""Measured exchanges of bits between groups of matrices, where predictions fail.

Below some 3.5 bits errors do not add up (EvoPress, Sieberling et al. 2024, arXiv 2410.14649, which therefore measures
its mutations): the matrices of one kind then cost more or less than Σ α t² says. After each build, a factor for each
group is fitted to all that was measured, KL = Σ f · Σ α t² (least squares of the relative errors, f drawn to 1 where
the builds do not tell), and the choice is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.search.choice import Solution, Variants, best, smallest

OFF = 1.25  # a measured KL over the predicted one, or the other way, from which exchanges are worth their builds
NARROW = 3.5  # bits per weight below which they always are
CERTAIN = 0.05  # relative error of a measurement, over how far factors are expected to lie from 1
LEAST = 0.02  # a group never costs less than this part of what was predicted


@dataclass(frozen=True)
class Measured:
    """A trial's build, measured in the backend's own runtime: bytes, KL in nats, shares."""

    build_bytes: int
    kl_nats_mean: float
    top1_agreement: float
    perplexity_increase: float


@dataclass(frozen=True)
class Tried:
    """A solution with the KL that was expected of it and what was measured; of an exchange, the factors."""

    solution: Solution
    expected: float
    found: Measured
    exchange: str = ""


def worth_exchanging(tried: Tried, weights: int) -> bool:
    """Whether a trial's prediction was off by more than a quarter, or its formats are narrow."""
    ratio = tried.found.kl_nats_mean / max(tried.expected, 1e-30)
    return not 1 / OFF <= ratio <= OFF or tried.solution.bits < NARROW * weights


@dataclass(frozen=True)
class Exchange:
    """Steps from measured trials. allowed: nats within which the smallest is sought; None: the best of as many bits."""

    variants: Variants
    sensitivity: Mapping[str, float]
    allowed: float | None

    def taken(
        self, trials: Sequence[Tried], bits: int, measure: Callable[[Mapping[str, str]], Measured], most: int
    ) -> list[Tried]:
        """What was tried after `trials`, in at most `most` builds; `bits` are those of the best within a size."""
        tried = list(trials)
        for _ in range(most):
            factors = self._factors(tried)
            believed = {name: value * factors[_group(name)] for name, value in self.sensitivity.items()}
            if self.allowed is None:
                found = best(self.variants, believed, bits)
            else:
                found = smallest(self.variants, believed, self.allowed)
            if found is None or any(found.table == old.solution.table for old in tried):
                break
            shown = ", ".join(f"{group} × {factor:.2g}" for group, factor in factors.items() if factor != 1)
            solution = Solution(found.table, found.bits, sum(self._costs(found).values()))
            tried.append(Tried(solution, found.predicted, measure(found.table), shown))
        return tried[len(trials) :]

    def _factors(self, tried: Sequence[Tried]) -> dict[str, float]:
        """What each group costs, as a multiple of what was predicted."""
        import numpy as np
        from scipy.optimize import lsq_linear

        rows = [(self._costs(each.solution), each.found.kl_nats_mean) for each in tried]
        groups = sorted({group for costs, _ in rows for group in costs})
        measured = np.asarray([[costs[group] / kl for group in groups] for costs, kl in rows])
        drawn = np.eye(len(groups)) * CERTAIN
        aims = np.concatenate([np.ones(len(rows)), np.full(len(groups), CERTAIN)])
        found = lsq_linear(np.vstack([measured, drawn]), aims, bounds=(LEAST, np.inf))
        return dict(zip(groups, map(float, found.x), strict=True))

    def _costs(self, solution: Solution) -> dict[str, float]:
        """{group of matrices: Σ α t²}."""
        found: dict[str, float] = {}
        for matrix, name in solution.table.items():
            for use, error in self.variants[matrix][name].errors.items():
                found[_group(use)] = found.get(_group(use), 0.0) + self.sensitivity[use] * error
        return found


def _group(matrix: str) -> str:
    """`mlp.down_proj` of `model.layers.3.mlp.down_proj.weight`; embedding and lm_head are groups of their own."""
    parts = matrix.removesuffix(".weight").split(".")
    return ".".join(parts[3:]) if parts[1:2] == ["layers"] else parts[-1]
