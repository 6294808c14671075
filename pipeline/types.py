"""The nouns of the product: frozen data that stages, plans and reports exchange (stdlib only)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

JSON = dict[str, Any]


class Family(StrEnum):
    """Precision families: what a column of the comparison is called."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    INT6 = "int6"
    INT5 = "int5"
    INT4 = "int4"
    INT3 = "int3"
    INT2 = "int2"
    FIT = "fit"  # found: a format for each matrix, within bounds


class Status(StrEnum):
    """How a stage or a cell ended. A skip has a reason and is no failure; what did not run here is neither."""

    OK = "ok"
    SKIPPED = "skipped"
    FAILED = "failed"
    NOT_RUN = "not run"


BITS = {  # per weight, scales included
    "fp32": 32,
    "fp16": 16,
    "bf16": 16,
    "int8": 8.5,
    "int6": 6.6,
    "int5": 5.7,
    "int4": 4.7,
    "int3": 3.9,
    "int2": 3.0,
    "fit": 4.7,  # what a search ends near, where a device holds no more
}


@dataclass(frozen=True)
class Recipe:
    """How a backend makes one precision: a method and its settings, see `pipeline.matrix.recipes`."""

    name: str
    family: Family
    method: str
    form: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A checked model folder.

    `folder` is canonical (config, tokenizer, side files); `weights` holds the safetensors shards, which
    for a local model is the user's own folder.
    """

    model: str
    folder: Path
    weights: Path
    config: Mapping[str, Any]

    @property
    def shards(self) -> list[Path]:
        return sorted(self.weights.glob("*.safetensors"))


@dataclass(frozen=True)
class QuantizationStats:
    """What quantization did, counted in the artifact itself.

    `operators` counts quantized operators (0 for fp32 and fp16); `kept` says which tensors stayed above
    the recipe's bits, for example {"lm_head": 8}; `bits_per_weight` is the storage of all weights,
    scales and zero points included, divided by the number of parameters.
    """

    operators: int
    bits_per_weight: float
    kept: Mapping[str, Any] = field(default_factory=dict)
