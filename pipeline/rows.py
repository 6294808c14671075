"""The rows that the report makes of what stages left: figures of a cell, verdicts on them, settings behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.answers import Example, TaskDifference
from pipeline.records import AtLength, Quality, Speed
from pipeline.types import Status


@dataclass(frozen=True)
class Verdict:
    """A gate's: `passed` and `margin` (relative) are None where the figure is missing."""

    gate: str
    bound: float
    value: float | None
    passed: bool | None
    margin: float | None


@dataclass(frozen=True)
class Common:
    """Quality on what all cells of a target have of windows, questions and tasks: what is compared and judged."""

    perplexity_common: float | None
    kl_nats_mean_common: float | None
    kl_nats_mean_se_common: float | None
    kl_nats_p50_common: float | None
    kl_nats_p90_common: float | None
    kl_nats_p99_common: float | None
    kl_nats_p999_common: float | None
    kl_nats_max_common: float | None
    top1_agreement_common: float | None
    top1_agreement_se_common: float | None
    flips_common: float | None
    rms_delta_p_common: float | None
    kl_nats_mean_default_mode_common: float | None
    task_accuracy_common: float | None
    task_accuracy_low_common: float | None
    task_accuracy_high_common: float | None
    answer_flips_common: float | None
    tasks_passed_common: float | None
    tasks_passed_low_common: float | None
    tasks_passed_high_common: float | None
    task_flips_common: float | None
    tasks_never_ended_common: float | None
    common_tokens: int | None


@dataclass(frozen=True)
class Size:
    """Bytes of a package's runtime files, and bits per weight, scales included."""

    size_bytes: int | None
    bits_per_weight: float | None


@dataclass(frozen=True)
class Figures(Speed, Size, Common, Quality):
    """All figures of a cell: quality on all its own windows, comparable quality, size, speed."""

    def get(self, name: str) -> float | int | None:
        """The figure called `name`."""
        value: float | int | None = getattr(self, name)
        return value


@dataclass(frozen=True)
class PackageRef:
    """Where a cell's package is, of which bytes, of which checkpoint, and how it is run."""

    path: str
    size_bytes: int
    sha256: str
    commit: str = ""
    checkpoint: Mapping[str, str] | None = None
    run: str = ""


@dataclass(frozen=True)
class Shared:
    """Tokens and summed KL, in nats, of each window that the target's cells share: cells are compared pair by pair."""

    tokens: tuple[int, ...]
    kl: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A cell in reports/cells.json: axes, figures, the reason of each that is missing, and the settings behind it.

    `harness` has figures of lm-evaluation-harness by `task/metric`.
    """

    id: str
    model: str
    precision: str
    option: str
    shown: str
    backend: str
    target: str
    recipe: str
    status: Status
    reason: str | None
    metrics: Figures
    reasons: Mapping[str, str]
    extra: Mapping[str, float]
    gates: tuple[Verdict, ...]
    package: PackageRef | None
    measured_on: str | None
    noisy: bool
    settings: Mapping[str, Mapping[str, Any]]
    shared: Shared | None = None
    examples: tuple[Example, ...] = ()
    tasks: tuple[TaskDifference, ...] = ()
    harness: Mapping[str, float] | None = None
    longer: tuple[AtLength, ...] = ()
