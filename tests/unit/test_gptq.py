"""GPTQ: less error where it counts, on the grids that kernels read."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from pipeline.calibration.blocks import compensated
from pipeline.calibration.gptq import Grid, inverse_factor, nearest, quantize, relative_error
from pipeline.calibration.integers import OUTPUTS, grid, quantized


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray]:
    """Weights [inputs, outputs], and second moments of inputs that go together, some of them large."""
    random = np.random.default_rng(0)
    mixing = random.standard_normal((96, 96)) * np.exp(random.standard_normal(96))
    inputs = (random.standard_normal((4096, 96)) @ mixing).astype(np.float32)
    return random.standard_normal((96, 40)).astype(np.float32), inputs.T @ inputs / len(inputs)


@pytest.mark.parametrize("grid", [Grid(4, 32, True), Grid(4, 32, False), Grid(4, 64, True), Grid(8, 32, True)])
def test_it_loses_less_than_rounding(case: tuple[np.ndarray, np.ndarray], grid: Grid) -> None:
    weights, moments = case
    own = relative_error(weights, quantize(weights, moments, grid).values(), moments)
    plain = relative_error(weights, nearest(weights, np.ones(96, np.float32), grid).values(), moments)
    assert own < 0.5 * plain


def test_inputs_that_are_independent_leave_nothing_to_spread(case: tuple[np.ndarray, np.ndarray]) -> None:
    weights, _ = case
    alike = quantize(weights, np.eye(96, dtype=np.float32), Grid(4, 32, True))
    assert np.array_equal(alike.values(), nearest(weights, np.ones(96, np.float32), Grid(4, 32, True)).values())


def test_integers_are_in_range_and_a_last_group_may_be_short(case: tuple[np.ndarray, np.ndarray]) -> None:
    weights, moments = case
    made = quantize(weights, moments, Grid(4, 64, False))
    assert made.scales.shape == made.zeros.shape == (2, 40)
    assert made.integers.max() <= 15 and made.zeros.max() <= 15
    assert np.isfinite(made.values()).all()


def test_weights_that_lie_on_the_grid_are_kept() -> None:
    random = np.random.default_rng(1)
    integers = random.integers(-7, 8, (64, 8)).astype(np.float32)
    integers[::32] = 7  # each group reaches its end
    weights = integers * 0.5
    made = quantize(weights, np.eye(64, dtype=np.float32), Grid(4, 32, True))
    assert np.array_equal(made.values(), weights)


def test_an_input_that_is_always_zero_is_no_trouble(case: tuple[np.ndarray, np.ndarray]) -> None:
    weights, moments = case
    dead = moments.copy()
    dead[5], dead[:, 5] = 0, 0
    assert np.isfinite(quantize(weights, dead, Grid(4, 32, True)).values()).all()


def test_errors_of_a_kernel_are_spread_over_the_columns_behind(case: tuple[np.ndarray, np.ndarray]) -> None:
    weights, moments = case
    rows = np.ascontiguousarray(weights.T)
    kernel = np.vectorize(lambda value: np.float32(round(value * 2) / 2), otypes=[np.float32])
    spread = compensated(rows, moments, 8, lambda part, _: kernel(part))
    assert np.array_equal(spread, kernel(spread))  # what the kernel can store
    whole = compensated(rows, moments, 96, lambda part, _: kernel(part))
    assert np.array_equal(whole, kernel(rows))
    assert relative_error(weights, spread.T, moments) < 0.7 * relative_error(weights, whole.T, moments)


def test_many_outputs_are_done_in_parts_with_the_same_integers() -> None:
    random = np.random.default_rng(0)
    weights = random.normal(size=(32, OUTPUTS + 100)).astype(np.float32)
    inputs = random.normal(size=(200, 32)).astype(np.float32)
    moments = inputs.T @ inputs / len(inputs)
    for kind in ("int4-16", "int8-32-asym"):
        for seen in (moments, None):
            parts = quantized(weights, seen, grid(kind))
            last = quantized(np.ascontiguousarray(weights[:, OUTPUTS:]), seen, grid(kind))
            assert parts.integers.shape == weights.shape and parts.scales.shape[1] == weights.shape[1]
            assert np.array_equal(parts.integers[:, OUTPUTS:], last.integers)
            assert np.array_equal(parts.zeros[:, OUTPUTS:], last.zeros)


def test_the_factor_of_moments_that_are_gone_is_not_kept() -> None:
    inputs = np.random.default_rng(0).normal(size=(100, 16)).astype(np.float32)
    moments = inputs.T @ inputs
    factor = weakref.ref(inverse_factor(moments))
    assert factor() is inverse_factor(moments)
    assert np.allclose(np.linalg.inv(factor().T @ factor()), moments, rtol=0.2)  # damped
    del moments
    assert factor() is None
