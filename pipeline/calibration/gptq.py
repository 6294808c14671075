"""GPTQ (Frantar et al. 2022, arXiv 2210.17323) on the grids of integer formats with a scale per group of inputs.

A column is rounded, and its error is spread over the columns that are still to come, so that the matrix's outputs on
the calibration data change least: the loss is tr(Δ H Δᵀ) with H the mean of x xᵀ over its inputs. Columns go by falling
H_ii ("act-order"); scales and zero points are chosen before that, from the weights as they were ("static groups"), so
that groups stay runs of neighbouring inputs, as kernels read them. Each scale is searched: the one of least Σ H_ii Δ²,
among the numbers of float16, which is what all runtimes can store.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

BLOCK = 128  # columns whose errors are spread within the block first
DAMPING = 0.01  # of H's mean diagonal, added to it: the original's
LEAST = np.float32(2**-24)  # a scale: float16's smallest number
SHRINK = tuple(1 - step / 40 for step in range(17))  # parts of the full range that are tried as a group's


@dataclass(frozen=True)
class Grid:
    """An integer format: value = scale · (integer - zero), integers of `bits`, groups of `group` neighbouring inputs.

    A symmetric one has its zero in the middle, 2^(bits-1).
    """

    bits: int
    group: int
    symmetric: bool

    @property
    def top(self) -> int:
        return (1 << self.bits) - 1

    @property
    def middle(self) -> int:
        return 1 << self.bits - 1


@dataclass(frozen=True)
class Quantized:
    """A matrix [inputs, outputs] on a grid: integers uint8 [inputs, outputs], scales float32 and zeros uint8 [groups,
    outputs]. The last group may be short."""

    grid: Grid
    integers: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zeros: NDArray[np.uint8]

    def values(self) -> NDArray[np.float32]:
        """The weights that a kernel computes with, float32 [inputs, outputs]."""
        groups = np.arange(len(self.integers)) // self.grid.group
        return (self.integers.astype(np.float32) - self.zeros[groups]) * self.scales[groups]


def quantize(weights: NDArray[np.float32], hessian: NDArray[np.float32], grid: Grid) -> Quantized:
    """A matrix [inputs, outputs] whose inputs have the second moments `hessian` [inputs, inputs]."""
    diagonal = np.diag(hessian).copy()
    scales, zeros = _ranges(weights, diagonal, grid)
    inputs = len(weights)
    order, factor = _ordered(hessian)
    rest = np.ascontiguousarray(weights[order])
    integers = np.empty(weights.shape, np.uint8)
    groups = order // grid.group
    for first in range(0, inputs, BLOCK):
        last = min(first + BLOCK, inputs)
        errors = np.empty((last - first, weights.shape[1]), np.float32)
        for at in range(first, last):
            scale, zero = scales[groups[at]], zeros[groups[at]]
            integer = _rounded(rest[at], scale, zero, grid)
            integers[order[at]] = integer
            error = (rest[at] - (integer - zero) * scale) / factor[at, at]
            rest[at + 1 : last] -= factor[at, at + 1 : last, None] * error
            errors[at - first] = error
        rest[last:] -= factor[first:last, last:].T @ errors
    return Quantized(grid, integers, scales, zeros.astype(np.uint8))


def nearest(weights: NDArray[np.float32], diagonal: NDArray[np.float32], grid: Grid) -> Quantized:
    """Rounded to nearest, with scales of least Σ diagonal · Δ²: for what no product of inputs is known of."""
    scales, zeros = _ranges(weights, diagonal, grid)
    groups = np.arange(len(weights)) // grid.group
    integers = _rounded(weights, scales[groups], zeros[groups], grid)
    return Quantized(grid, integers.astype(np.uint8), scales, zeros.astype(np.uint8))


def relative_error(weights: NDArray[np.float32], values: NDArray[np.float32], hessian: NDArray[np.float32]) -> float:
    """tr(Δ H Δᵀ) / tr(W H Wᵀ): the mean squared change of the outputs, relative to the outputs'. [inputs, outputs]."""
    change = values - weights
    return float(np.vdot(change, hessian @ change) / max(np.vdot(weights, hessian @ weights), 1e-30))


def _rounded(
    weights: NDArray[np.float32], scale: NDArray[np.float32], zero: NDArray[np.float32], grid: Grid
) -> NDArray[np.float32]:
    return np.asarray(np.clip(np.rint(weights / scale) + zero, 0, grid.top), np.float32)


Moments = NDArray[np.float32]
Found = TypeVar("Found")


def _once(compute: Callable[[Moments], Found]) -> Callable[[Moments], Found]:
    """Remembers what the last matrix of moments gave, as long as that is there: formats are tried one after another."""
    last: list[tuple[weakref.ref[Moments], Found]] = []

    def remembered(moments: Moments) -> Found:
        if not last or last[0][0]() is not moments:
            last[:] = [(weakref.ref(moments, lambda _: last.clear()), compute(moments))]
        return last[0][1]

    return remembered


@_once
def _ordered(hessian: Moments) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(inputs by falling H_ii, the factor of the Hessian in that order)."""
    order = np.argsort(-np.diag(hessian), kind="stable")
    return order, _inverse_factor(hessian[np.ix_(order, order)])


@_once
def inverse_factor(hessian: Moments) -> NDArray[np.float32]:
    """The upper Cholesky factor of the damped Hessian's inverse; an input that is always zero counts as independent."""
    return _inverse_factor(hessian)


def _inverse_factor(hessian: Moments) -> NDArray[np.float32]:
    """U upper with UᵀU = H⁻¹. With the inputs in reverse order H = L Lᵀ, and U is L⁻¹ turned round: in one array."""
    from scipy.linalg import lapack

    damped = hessian[::-1, ::-1].astype(np.float64)
    diagonal = np.diag(damped).copy()
    diagonal[diagonal <= 0] = 1.0
    np.fill_diagonal(damped, diagonal + DAMPING * diagonal.mean())
    lower, wrong = lapack.dpotrf(damped.T, lower=1, overwrite_a=1)
    if wrong:
        raise np.linalg.LinAlgError("the moments of a matrix's inputs are not positive definite")
    inverse, _ = lapack.dtrtri(lower, lower=1, overwrite_c=1)
    return np.ascontiguousarray(inverse[::-1, ::-1], np.float32)


def _ranges(
    weights: NDArray[np.float32], diagonal: NDArray[np.float32], grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(scales, zeros) float32 [groups, outputs]: of the ranges tried, those of least error, weighed by `diagonal`."""
    inputs, outputs = weights.shape
    count = -(-inputs // grid.group)
    padded = np.zeros((count * grid.group, outputs), np.float32)
    padded[:inputs] = weights
    importance = np.zeros(count * grid.group, np.float32)
    importance[:inputs] = diagonal
    importance += 1e-6 * max(float(diagonal.mean()), 1e-30)
    scales = np.empty((count, outputs), np.float32)
    zeros = np.empty((count, outputs), np.float32)
    for number in range(count):
        rows = slice(number * grid.group, (number + 1) * grid.group)
        scales[number], zeros[number] = _best(padded[rows], importance[rows, None], grid)
    return scales, zeros


def _best(
    block: NDArray[np.float32], importance: NDArray[np.float32], grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    low, high = np.minimum(block.min(axis=0), 0), np.maximum(block.max(axis=0), 0)
    best = np.full(block.shape[1], np.inf, np.float32)
    scale, zero = np.ones_like(low), np.full_like(low, grid.middle)
    for tried, at in _candidates(low, high, grid):
        change = (_rounded(block, tried, at, grid) - at) * tried - block
        loss = (importance * change * change).sum(axis=0)
        better = loss < best
        best, scale, zero = (np.where(better, new, old) for new, old in ((loss, best), (tried, scale), (at, zero)))
    return scale, zero


def _candidates(
    low: NDArray[np.float32], high: NDArray[np.float32], grid: Grid
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """(scale, zero) of each range tried: the full one, and smaller ones, which clip the largest weights."""
    found = []
    for part in SHRINK:
        if grid.symmetric:
            middle = np.full_like(low, grid.middle)
            largest = np.maximum(high, -low) * np.float32(part)
            found.append((_half(largest / (grid.middle - 1)), middle))
            signed = np.where(-low >= high, low, high) * np.float32(part)  # the larger side reaches -2^(bits-1)
            found.append((_half(signed / -grid.middle), middle))
        else:
            scale = _half((high - low) * np.float32(part) / grid.top)
            found.append((scale, np.clip(np.rint(-low * np.float32(part) / scale), 0, grid.top)))
    return found


def _half(scales: NDArray[Any]) -> NDArray[np.float32]:
    """The nearest numbers of float16, but for zero."""
    half = scales.astype(np.float16).astype(np.float32)
    return np.where(half == 0, LEAST, half)
