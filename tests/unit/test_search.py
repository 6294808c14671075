"""The search: exact where it chooses, and what it ends with was measured."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest

from pipeline.errors import QualityError
from pipeline.found import Variant
from pipeline.matrix.searches import label
from pipeline.search.choice import Solution, best, cost, frontier, smallest
from pipeline.search.exchange import Measured, Tried, worth_exchanging
from pipeline.search.loop import Limits, search

MATRICES, FORMATS = ("a", "b", "c", "d"), ("small", "middle", "large")
SENSITIVITY = {"a": 1.0, "b": 0.1, "c": 3.0, "d": 0.02, "lookup": 0.5}


def table(seed: int) -> dict[str, dict[str, Variant]]:
    """Formats that take more bits and lose less; `d` is used twice."""
    random = np.random.default_rng(seed)
    found = {}
    for matrix in MATRICES:
        size = int(random.integers(100, 1000))
        errors = np.sort(random.uniform(1e-4, 1e-2, 3))[::-1]
        uses = (matrix, "lookup") if matrix == "d" else (matrix,)
        found[matrix] = {
            name: Variant(size * bits, {use: float(error) for use in uses})
            for name, bits, error in zip(FORMATS, (3, 4, 8), errors, strict=True)
        }
    return found


def every(variants: Mapping[str, Mapping[str, Variant]]) -> list[tuple[int, float]]:
    """(bits, cost) of each combination."""
    return [
        (sum(v.bits for v in taken), sum(cost(v, SENSITIVITY) for v in taken))
        for taken in product(*(formats.values() for formats in variants.values()))
    ]


@pytest.mark.parametrize("seed", range(8))
def test_the_choice_is_the_best_of_all(seed: int) -> None:
    variants = table(seed)
    combinations = every(variants)
    costs = sorted(cost for _, cost in combinations)
    for bound in (costs[5], costs[40]):
        found = smallest(variants, SENSITIVITY, bound * (1 + 1e-9))
        assert found is not None and found.bits == min(b for b, c in combinations if c <= bound * (1 + 1e-9))
        assert found.predicted <= bound * (1 + 1e-6)
    room = sorted(bits for bits, _ in combinations)[30]
    found = best(variants, SENSITIVITY, room)
    assert found is not None and found.bits <= room
    assert found.predicted == pytest.approx(min(c for b, c in combinations if b <= room), rel=1e-3)


def test_what_cannot_be_is_none() -> None:
    variants = table(0)
    assert smallest(variants, SENSITIVITY, 1e-9) is None and best(variants, SENSITIVITY, 10) is None


def test_the_frontier_goes_from_the_smallest_to_the_best() -> None:
    points = frontier(table(1), SENSITIVITY)
    assert points[0].bits == min(bits for bits, _ in every(table(1)))
    assert points[-1].predicted == pytest.approx(min(cost for _, cost in every(table(1))))
    assert all(a.bits <= b.bits and a.predicted >= b.predicted for a, b in zip(points, points[1:], strict=False))


class Tool:
    """A backend whose KL is `scale` times the prediction to a power, and whose disagreement is KL's root."""

    def __init__(self, scale: float, power: float = 1.0) -> None:
        self.scale, self.power, self.built = scale, power, 0

    def __call__(self, chosen: Mapping[str, str]) -> Measured:
        self.built += 1
        taken = [table(2)[matrix][name] for matrix, name in chosen.items()]
        kl = self.scale * sum(cost(v, SENSITIVITY) for v in taken) ** self.power
        return Measured(sum(v.bits for v in taken) // 8 + 100, kl, 1 - kl**0.5, kl)


@pytest.mark.parametrize(("scale", "power"), [(1.0, 1.0), (3.0, 1.0), (0.3, 1.0), (2.0, 1.2)])
def test_predictions_that_are_off_are_corrected_by_what_is_measured(scale: float, power: float) -> None:
    tool = Tool(scale, power)
    costs = sorted(scale * cost**power for _, cost in every(table(2)))
    bound = costs[35]
    found = search(table(2), SENSITIVITY, {"max_kl_nats": bound}, tool, Limits(3))
    taken = found["trials"][found["chosen"]]
    assert tool.built <= 3 and taken.kl_nats_mean <= bound
    least = min(b for b, c in every(table(2)) if scale * c**power <= bound)
    assert taken.weight_bits <= 1.25 * least
    assert found["table"].keys() == set(MATRICES)


def test_other_bounds_count_as_well() -> None:
    found = search(table(2), SENSITIVITY, {"max_kl_nats": 1.0, "min_top1_agreement": 0.88}, Tool(1.0), Limits(3))
    assert found["trials"][found["chosen"]].top1_agreement >= 0.88


def test_the_best_within_a_size() -> None:
    bits = sorted(b for b, _ in every(table(2)))[40]
    found = search(table(2), SENSITIVITY, {"max_package_mb": (bits / 8 + 100) / 1e6}, Tool(1.0), Limits(3))
    taken = found["trials"][found["chosen"]]
    assert taken.build_bytes <= bits / 8 + 100
    assert taken.kl_nats_mean == pytest.approx(min(c for b, c in every(table(2)) if b <= bits), rel=0.01)


class Unlike(Tool):
    """A tool where two matrices cost other than is believed: errors that do not add up."""

    def __call__(self, chosen: Mapping[str, str]) -> Measured:
        factors = {"a": 20.0, "c": 0.05}
        self.built += 1
        taken = {matrix: table(2)[matrix][name] for matrix, name in chosen.items()}
        kl = sum(factors.get(matrix, 1.0) * cost(v, SENSITIVITY) for matrix, v in taken.items())
        return Measured(sum(v.bits for v in taken.values()) // 8 + 100, kl, 1.0, 0.0)


def test_exchanges_find_what_predictions_miss_and_keep_the_bound() -> None:
    bounds, tool = {"max_kl_nats": 0.04}, Unlike(1.0)
    without = search(table(2), SENSITIVITY, bounds, Unlike(1.0), Limits(3))
    found = search(table(2), SENSITIVITY, bounds, tool, Limits(3, exchanges=4))
    old, new = (made["trials"][made["chosen"]] for made in (without, found))
    assert tool.built <= 7 and not old.exchange and "a × " in new.exchange
    assert new.kl_nats_mean <= 0.04 and new.build_bytes < 0.7 * old.build_bytes


def test_exchanges_are_for_predictions_that_fail_or_narrow_formats() -> None:
    near = search(table(2), SENSITIVITY, {"max_kl_nats": 0.02}, Tool(1.2), Limits(3, exchanges=4, weights=1))
    assert not any(trial.exchange for trial in near["trials"])

    def tried(kl: float) -> Tried:
        return Tried(Solution({}, 4000, 0.01), 0.01, Measured(500, kl, 1.0, 0.0))

    assert not worth_exchanging(tried(0.0124), 1000) and worth_exchanging(tried(0.0126), 1000)
    assert not worth_exchanging(tried(0.0081), 1000) and worth_exchanging(tried(0.0079), 1000)
    assert worth_exchanging(tried(0.01), 1200)


@pytest.mark.parametrize(
    "bounds", [{"max_kl_nats": 1e-7}, {"max_kl_nats": 1e-3, "max_package_mb": 1e-5}, {"max_package_mb": 1e-5}]
)
def test_a_bound_that_nothing_meets_is_an_error_that_says_what_can_be_had(bounds: dict[str, float]) -> None:
    with pytest.raises(QualityError, match="nothing is within") as error:
        search(table(2), SENSITIVITY, bounds, Tool(1.0), Limits(3))
    if "max_kl_nats" in bounds:
        assert "the best of" in str(error.value) and " MB" in str(error.value)


def test_bounds_name_a_build() -> None:
    assert label({"max_kl_nats": 0.1, "min_top1_agreement": 0.9}) == "kl100m-top900m"
    assert label({"max_kl_nats": 0.0005}) == "kl0o5m"
    assert label({"max_package_mb": 350}) == "mb350000m"
