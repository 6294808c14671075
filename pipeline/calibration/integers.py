"""Integer formats by name, and a matrix in one: `int4-32` is 4 bits in groups of 32, symmetric; `int8-64-asym` …

The integers are the same wherever a runtime takes them; how they are packed, and what types their scales have, is its
own.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration import gptq
from pipeline.errors import ConfigError

NAME = re.compile(r"int(?P<bits>[48])-(?P<group>\d+)(?P<asymmetric>-asym)?")
EXACT = 8  # bits from which rounding to nearest is as good
OUTPUTS = 4096  # done at a time, each on its own: memory holds as many


def grid(name: str) -> gptq.Grid:
    """The integers of a format. Raises ConfigError for an unknown one."""
    found = NAME.fullmatch(name)
    if not found:
        raise ConfigError(f"unknown format '{name}'", hint="int4-32, int4-32-asym, int8-128 … (groups of 16 to 256)")
    group = int(found["group"])
    if group < 16 or group & (group - 1):
        raise ConfigError(f"group size {group} is no power of two from 16 up", hint="groups of 16 to 256")
    return gptq.Grid(int(found["bits"]), group, not found["asymmetric"])


def quantized(weights: NDArray[np.float32], moments: NDArray[np.float32] | None, integers: gptq.Grid) -> gptq.Quantized:
    """A matrix [inputs, outputs] on a grid: by GPTQ, or to nearest where 8 bits leave it nothing to gain.

    moments: of its inputs [inputs, inputs]; None for a table that is looked up.
    """
    parts = [
        _part(weights[:, first : first + OUTPUTS], moments, integers) for first in range(0, weights.shape[1], OUTPUTS)
    ]
    if len(parts) == 1:
        return parts[0]
    whole = (
        np.concatenate([getattr(part, name) for part in parts], axis=1) for name in ("integers", "scales", "zeros")
    )
    return gptq.Quantized(integers, *whole)


def _part(weights: NDArray[np.float32], moments: NDArray[np.float32] | None, integers: gptq.Grid) -> gptq.Quantized:
    if moments is None:
        return gptq.nearest(weights, np.ones(len(weights), np.float32), integers)
    if integers.bits >= EXACT:
        return gptq.nearest(weights, np.diag(moments).copy(), integers)
    return gptq.quantize(weights, moments, integers)
