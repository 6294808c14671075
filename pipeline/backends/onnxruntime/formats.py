"""The formats of a matrix in an ONNX graph, by name: `int4-32` is 4 bits in blocks of 32, symmetric; `int8-64-asym` …

They are MatMulNBits' (com.microsoft): packed integers, a scale per block in the graph's own type, and a zero point per
block in as many bits as the integers where a format is asymmetric. GatherBlockQuantized reads the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.calibration.gptq import Grid
from pipeline.errors import ConfigError

FLOAT = "float"  # stays as the export has it
NAME = re.compile(r"int(?P<bits>[48])-(?P<group>\d+)(?P<asymmetric>-asym)?")


def grid(name: str) -> Grid | None:
    """The integers of a format; None for `float`. Raises ConfigError for an unknown one."""
    if name == FLOAT:
        return None
    found = NAME.fullmatch(name)
    if not found:
        raise ConfigError(f"unknown format '{name}'", hint="int4-32, int4-32-asym, int8-128 … (16 to 256), or float")
    group = int(found["group"])
    if group < 16 or group & (group - 1):
        raise ConfigError(f"group size {group} is no power of two from 16 up", hint="ONNX Runtime takes 16 to 256")
    return Grid(int(found["bits"]), group, not found["asymmetric"])


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
    return outputs * (blocks * (integers.group * integers.bits + wide) + zeros)
