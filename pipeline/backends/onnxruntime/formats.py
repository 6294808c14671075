"""The formats of a matrix in an ONNX graph, by name: integers (pipeline/calibration/integers.py), or `float`.

They are MatMulNBits' (com.microsoft): packed integers, a scale per block, and a zero point per block in as many bits
as the integers where a format is asymmetric. Scales are float16 where they were calibrated, and else the graph's own
type. GatherBlockQuantized reads the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.calibration import integers
from pipeline.calibration.gptq import Grid

SCALE = 16  # bits of a calibrated format's
FLOAT = "float"  # stays as the export has it


def grid(name: str) -> Grid | None:
    """The integers of a format; None for `float`. Raises ConfigError for an unknown one."""
    return None if name == FLOAT else integers.grid(name)


def name_of(settings: Mapping[str, Any], bits: int) -> str:
    """The format that a recipe's words say for a matrix of `bits`."""
    if bits > 8:
        return FLOAT
    return f"int{bits}-{settings['group_size']}{'' if settings.get('symmetric', True) else '-asym'}"


def stored_bits(name: str, inputs: int, outputs: int, wide: int) -> int:
    """Bits that a matrix takes in a graph whose floats have `wide` bits."""
    integers = grid(name)
    if integers is None:
        return wide * inputs * outputs
    blocks = -(-inputs // integers.group)
    zeros = 0 if integers.symmetric else 8 * (-(-blocks * integers.bits // 8))
    return outputs * (blocks * (integers.group * integers.bits + SCALE) + zeros)
