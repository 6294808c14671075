"""Errors and intervals, held against published values and against draws whose truth is known."""

from __future__ import annotations

import io

import numpy as np
import pytest

from pipeline.metrics.columns import archive, delta_p, per_window, tails
from pipeline.metrics.divergence import Scores
from pipeline.metrics.shared import changed, quality
from pipeline.metrics.uncertainty import paired, standard_error, student_t, wilson
from pipeline.rows import Shared

RANDOM = np.random.default_rng(11)


def scores(windows: int, tokens: int = 50) -> list[Scores]:
    def draw() -> Scores:
        return Scores(RANDOM.exponential(2, tokens), RANDOM.exponential(0.01, tokens), RANDOM.random(tokens) < 0.9)

    return [draw() for _ in range(windows)]


def test_the_error_of_equal_windows_is_that_of_their_means() -> None:
    means = RANDOM.normal(3, 1, 20)
    found = standard_error(list(means * 10), [10] * 20)
    assert found == pytest.approx(np.std(means, ddof=1) / np.sqrt(20))


def test_a_window_of_other_length_weighs_by_its_tokens() -> None:
    """Windows of one mean per token have no error, however long they are."""
    assert standard_error([1.0, 2.0, 5.0], [10, 20, 50]) == pytest.approx(0.0, abs=1e-15)


def test_one_window_has_no_error() -> None:
    assert standard_error([1.0], [10]) is None and standard_error([], []) is None


def test_the_error_covers_the_truth_as_often_as_it_says() -> None:
    """Windows whose tokens share a level: the error of independent tokens would be a fourth of the true one."""
    hits = 0
    for _ in range(400):
        levels = RANDOM.gamma(4, 0.25, 40)  # of mean 1
        sums = [float(RANDOM.exponential(level, 100).sum()) for level in levels]
        error = standard_error(sums, [100] * 40)
        assert error is not None
        hits += abs(sum(sums) / 4000 - 1) < 1.96 * error
    assert 0.90 <= hits / 400 <= 0.98


def test_wilsons_interval_is_the_published_one() -> None:
    """Of 81 successes in 263: Newcombe 1998, Statistics in Medicine 17, table I, method 3."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(29, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)


def test_percentiles_of_the_first_windows_are_those_of_their_tokens() -> None:
    made = scores(3)
    found = tails(made)
    for count in (1, 2, 3):
        tokens = np.concatenate([window.kl for window in made[:count]])
        expected = np.percentile(tokens, [50, 90, 99, 99.9])
        assert [found.p50[count - 1], found.p90[count - 1], found.p99[count - 1], found.p999[count - 1]] == list(
            expected
        )


def test_delta_p_is_the_change_of_the_right_tokens_probability() -> None:
    one = Scores(np.array([np.log(2), np.log(4)]), np.zeros(2), np.ones(2, bool))
    reference = np.array([np.log(4), np.log(4)])
    assert delta_p(one, reference) == pytest.approx([0.25, 0.0])
    sums = per_window([one], reference[None])
    made = quality(sums, None, tails([one]), (), None)
    assert made.rms_delta_p == pytest.approx(0.25 / np.sqrt(2))


def test_figures_agree_with_the_arrays_beside_them() -> None:
    made, reference = scores(4), RANDOM.exponential(2, (4, 50))
    held = np.load(io.BytesIO(archive({"": made, "_default_mode": made}, reference)))
    assert {name: array.dtype.name for name, array in held.items() if "mode" not in name} == {
        **dict.fromkeys(("nll", "kl", "delta_p"), "float32"),
        "top1": "bool",
    }
    found = quality(per_window(made, reference), None, tails(made), [True, False, True], 1 / 3)
    assert held["kl"].shape == (4, 50) and found.evaluated_tokens == 200
    assert found.kl_nats_mean == pytest.approx(held["kl"].mean(), rel=1e-6)
    assert found.kl_nats_max == pytest.approx(held["kl"].max(), rel=1e-6)
    assert found.kl_nats_p999 == pytest.approx(np.percentile(held["kl"], 99.9), rel=1e-6)
    assert found.perplexity == pytest.approx(np.exp(held["nll"].mean()), rel=1e-6)
    assert found.flips == pytest.approx(1 - held["top1"].mean())
    assert found.rms_delta_p == pytest.approx(np.sqrt(np.square(held["delta_p"]).mean()), rel=1e-5)
    assert found.kl_nats_mean_se == pytest.approx(held["kl"].mean(axis=1).std(ddof=1) / 2, rel=1e-5)
    assert (found.task_accuracy_low, found.task_accuracy_high) == wilson(2, 3)


def test_the_same_scores_give_the_same_bytes() -> None:
    made, reference = scores(2), np.ones((2, 50))
    assert archive({"": made}, reference) == archive({"": made}, reference)


def test_a_changed_answer_is_a_flip_whether_it_was_right_or_not() -> None:
    assert changed((0, 1, 2, 3), (0, 1, 3, 2)) == 0.5
    assert changed((), ()) is None


def draws(windows: int, mean: float, spread: float, tokens: int = 100) -> tuple[Shared, Shared]:
    """Two builds: what makes a window hard is far larger than how they differ."""
    hard = RANDOM.gamma(2, 1.0, windows)
    differ = RANDOM.normal(mean, spread, windows)
    of = (tokens,) * windows
    return Shared(of, tuple(tokens * (hard + differ))), Shared(of, tuple(tokens * hard))


@pytest.mark.parametrize("windows", [4, 40])
def test_a_paired_interval_covers_the_true_difference_as_often_as_it_says(windows: int) -> None:
    found = [paired(*draws(windows, 0.01, 0.05)) for _ in range(600)]
    hits = sum(one is not None and one.low is not None and one.low <= 0.01 <= one.high for one in found)
    assert 0.925 <= hits / 600 <= 0.975


def test_a_difference_that_two_separate_errors_hide_is_shown_pair_by_pair() -> None:
    own, its = draws(40, 0.02, 0.01)
    found = paired(own, its)
    apart = standard_error(own.kl, own.tokens)
    assert found is not None and found.shown and found.mean == pytest.approx(0.02, abs=0.01)
    assert apart is not None and found.mean < apart


def test_as_many_tokens_as_are_said_show_the_difference() -> None:
    """The same windows as often as that."""
    own, its = draws(30, 0.004, 0.03)
    found = paired(own, its)
    assert found is not None and found.shown is False and found.needed is not None and found.needed > found.tokens
    times = -(-found.needed // found.tokens)
    again = paired(Shared(own.tokens * times, own.kl * times), Shared(its.tokens * times, its.kl * times))
    assert again is not None and again.shown


def test_one_window_gives_no_interval_and_equal_builds_no_number_of_tokens() -> None:
    one = paired(Shared((100,), (1.0,)), Shared((100,), (2.0,)))
    assert one is not None and one.shown is None and one.mean == -0.01
    same = paired(Shared((100, 100), (1.0, 2.0)), Shared((100, 100), (1.0, 2.0)))
    assert same is not None and same.shown is False and same.needed is None


def test_builds_of_other_windows_are_not_compared() -> None:
    assert paired(Shared((100, 100), (1.0, 1.0)), Shared((100,), (1.0,))) is None
    assert paired(Shared((), ()), Shared((), ())) is None


def test_students_t_is_the_tables() -> None:
    """Fisher and Yates 1938, table III."""
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 10: 2.228, 30: 2.042, 120: 1.980, 5000: 1.960}
    assert {freedom: round(student_t(freedom), 3) for freedom in table} == table
