"""No cell is called better than another where their tokens do not show it."""

from __future__ import annotations

import pytest

from pipeline.reporting.choice import pareto, recommend
from pipeline.reporting.paired import better, remark
from pipeline.reporting.verdict import verdict
from pipeline.rows import Row, Shared
from tests.unit.test_gates import cell

TOKENS = (500,) * 8
NOISE = (0.004, -0.003, 0.002, -0.004, 0.003, -0.002, 0.001, -0.001)  # of mean 0, nats per token of each window


def seen(name: str, kl: float, size: float, noise: float = 0.0, speed: float | None = None, windows: int = 8) -> Row:
    """A cell whose windows differ from their mean by `noise` times NOISE."""
    sums = tuple(500 * (kl + noise * off) for off in NOISE[:windows])
    return cell(name, kl, size, speed, shared=Shared(TOKENS[:windows], sums))


def test_a_difference_within_its_error_is_none() -> None:
    one, other = seen("one", 0.0500, 3e6), seen("other", 0.0495, 4e6, noise=1)
    assert better(one, other) == better(other, one) == 0
    # t of 7 degrees 2.365, standard error 1.035e-3: 4,000 (2.365 · 1.035e-3 / 5e-4)² = 95,800, rounded up
    assert remark(other, one) == "no difference that 4,000 tokens can show, some 96,000 would"


def test_a_difference_beyond_its_error_is_one() -> None:
    one, other = seen("one", 0.050, 3e6), seen("other", 0.046, 4e6, noise=1)
    assert better(other, one) == 1 and better(one, other) == -1 and remark(one, other) == ""


def test_a_larger_cell_that_is_not_shown_to_be_better_is_off_the_front_and_says_why() -> None:
    small, large = seen("small", 0.0500, 3e6), seen("large", 0.0495, 4e6, noise=1)
    choice = recommend([large, small], "phone")
    assert choice.front == ("small",) and choice.choice == "small"
    assert choice.lost["large"] == (
        "small is as good or better in everything: KL 5.0e-2 against 5.0e-2 (no difference that 4,000 tokens can show, "
        "some 96,000 would); 4.0 against 3.0 MB"
    )


def test_a_chain_of_small_differences_hides_no_large_one() -> None:
    """Each is no better than the one before it, for all that its tokens show; the last is far better than the first."""
    steps = [seen(str(i), 0.05 - 0.0008 * i, 3e6 + 1e5 * i, noise=i % 2) for i in range(6)]
    assert all(better(one, other) == 0 for one, other in zip(steps[1:], steps, strict=False))
    kept = pareto(steps)
    assert kept[0].id == "0" and len(kept) > 1 and better(kept[-1], kept[0]) == 1


def test_what_is_faster_but_not_shown_to_be_better_says_so() -> None:
    cells = [seen("slow", 0.0495, 3e6, noise=1, speed=50), seen("fast", 0.05, 4e6, speed=200)]
    choice = recommend(cells, "phone")
    assert choice.choice == "fast" and set(choice.front) == {"slow", "fast"}
    assert "(no difference that 4,000 tokens can show" in choice.lost["slow"]


def test_one_window_lets_the_means_decide_and_says_so() -> None:
    cells = [seen("small", 0.06, 3e6, windows=1), seen("large", 0.05, 4e6, windows=1)]
    choice = recommend(cells, "phone")
    assert choice.front == ("small", "large")
    assert "(500 tokens in one window give no interval)" in choice.lost["large"]


@pytest.mark.parametrize("noise", [0, 1])
def test_a_verdict_offers_as_better_only_what_is_shown_to_be(noise: float) -> None:
    cells = [seen("small", 0.050, 3e6), seen("large", 0.0495 if noise else 0.02, 4e6, noise=noise)]
    said = verdict(cells, "phone").instead
    assert [("better" in one) for one in said] == ([] if noise else [True])


def test_rounding_below_what_fp32_keeps_is_no_difference() -> None:
    assert better(seen("one", 2e-13, 3e6), seen("other", 9e-10, 4e6)) == 0
