"""What a search of formats leaves behind, stage by stage: frozen, read strictly, written whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.records import Outcome


@dataclass(frozen=True)
class Variant:
    """A matrix in a format: bits that it takes, and the relative squared error of its outputs, for each of its uses."""

    bits: int
    errors: Mapping[str, float]


@dataclass(frozen=True)
class Sensitivity(Outcome):
    """Nats of KL per token for a relative squared error of a matrix's outputs, found on so many tokens."""

    matrices: Mapping[str, float]
    tokens: int
    way: str


@dataclass(frozen=True)
class Variants(Outcome):
    """Matrix → format → what it takes and loses."""

    matrices: Mapping[str, Mapping[str, Variant]]


@dataclass(frozen=True)
class Trial:
    """A build that was measured on the way: the KL that was expected of it, and what it has (nats).

    `exchange`: by what the groups' predicted costs were multiplied for it; empty for a choice by what is predicted.
    """

    formats: Mapping[str, int]  # how many matrices have each
    weight_bits: int
    build_bytes: int
    predicted: float
    kl_nats_mean: float
    top1_agreement: float
    perplexity_increase: float
    exchange: str = ""


@dataclass(frozen=True)
class Point:
    """A point of the predicted frontier: bits of all matrices, and KL in nats."""

    weight_bits: int
    kl_nats_mean: float


@dataclass(frozen=True)
class Fit(Outcome):
    """The formats that were chosen, matrix by matrix, how they were found, and the frontier they lie on.

    The prediction of a KL is scale · (Σ α t²) ^ exponent, fitted to the trials.
    """

    table: Mapping[str, str]
    bounds: Mapping[str, float]
    trials: tuple[Trial, ...]
    chosen: int
    scale: float
    exponent: float
    frontier: tuple[Point, ...]
    tokens: int
