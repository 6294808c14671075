"""Integers as MatMulNBits reads them: packed along the inputs, in blocks, with a scale and perhaps a zero per block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration.gptq import Grid, Quantized
from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Packed:
    """A matrix [inputs, outputs]: blocks uint8 [outputs, blocks, bytes], scales [outputs, blocks] and zeros uint8
    [outputs, bytes] where the format is asymmetric."""

    grid: Grid
    inputs: int
    blocks: NDArray[np.uint8]
    scales: NDArray[Any]
    zeros: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Stored:
    """The same as tensors of a graph that lie in its data file."""

    grid: Grid
    inputs: int
    blocks: Any
    scales: Any
    zeros: Any | None

    @property
    def outputs(self) -> int:
        return int(self.blocks.shape[0])


def packed(made: Quantized) -> Packed:
    """A quantized matrix with its scales in float16; a last block that is short is filled up with zeros."""
    grid, (inputs, outputs) = made.grid, made.integers.shape
    count = len(made.scales)
    whole = np.full((outputs, count * grid.group), grid.middle, np.uint8)
    whole[:, :inputs] = made.integers.T
    blocks = _together(whole, grid.bits).reshape(outputs, count, grid.group * grid.bits // 8)
    zeros = None if grid.symmetric else zero_points(made.zeros.T, grid.bits)
    return Packed(grid, inputs, blocks, np.ascontiguousarray(made.scales.T).astype(np.float16), zeros)


def zero_points(zeros: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Zeros uint8 [outputs, blocks], packed; an unused half byte holds the default zero point."""
    if bits == 4 and zeros.shape[1] % 2:
        zeros = np.pad(zeros, ((0, 0), (0, 1)), constant_values=8)
    return _together(np.ascontiguousarray(zeros), bits)


def rounded(matrix: NDArray[Any], grid: Grid, settings: Mapping[str, Any]) -> Packed:
    """A matrix [inputs, outputs], rounded to nearest by ONNX Runtime's kernels, or by k-quant's search."""
    rows, columns = matrix.shape
    group = grid.group
    if rows % group:
        raise ConfigError(f"group size {group} does not divide {rows} channels")
    if settings.get("algorithm", "rtn") == "k_quant":
        return _k_quant(matrix, Grid(grid.bits, group, symmetric=False))
    from onnxruntime.capi import _pybind_state as kernels

    blocks = rows // group
    packed = np.zeros((columns, blocks, group * grid.bits // 8), np.uint8)
    scales = np.zeros((columns, blocks), matrix.dtype)
    zeros = np.zeros((columns, (blocks * grid.bits + 7) // 8), np.uint8)
    kernel = kernels.quantize_matmul_8bits if grid.bits == 8 else kernels.quantize_matmul_4bits
    kernel(packed, matrix, scales, zeros, group, columns, rows, grid.symmetric)
    return Packed(grid, rows, packed, scales, None if grid.symmetric else zeros)


def _k_quant(matrix: NDArray[Any], grid: Grid) -> Packed:
    """llama.cpp's search for scale and minimum, as ONNX Runtime implements it; always asymmetric."""
    from onnxruntime.quantization.neural_compressor.weight_only import quant_tensor_k_quant_cpu

    columns, blocks = matrix.shape[1], matrix.shape[0] // grid.group
    with np.errstate(divide="ignore", invalid="ignore"):
        values, scales, zeros = quant_tensor_k_quant_cpu(matrix.T, grid.bits, grid.group)
    whole = _together(values.astype(np.uint8).reshape(columns, blocks * grid.group), grid.bits)
    return Packed(
        grid,
        len(matrix),
        whole.reshape(columns, blocks, -1),
        scales.reshape(columns, blocks).astype(matrix.dtype),
        zero_points(zeros.reshape(columns, blocks).astype(np.uint8), grid.bits),
    )


def _together(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Two integers of 4 bits to a byte, the first in its lower half."""
    if bits == 8:
        return values
    return np.asarray(values[..., ::2] | values[..., 1::2] << 4, np.uint8)
