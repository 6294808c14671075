"""Figures with what is known of their error: how they are written, and their intervals."""

from __future__ import annotations

import math

from pipeline.metrics.uncertainty import Z95
from pipeline.reporting.figures import COLUMNS, FLOOR, NONE, divergence
from pipeline.rows import Row

KL, TOP1, ACCURACY = "kl_nats_mean_common", "top1_agreement_common", "task_accuracy_common"
TASKS = "tasks_passed_common"
OF_COUNTS = (ACCURACY, TASKS)  # shares of so many, with Wilson's interval
ERRORS = {KL: "kl_nats_mean_se_common", TOP1: "top1_agreement_se_common"}
WRITE = {column.metric: column.write for column in COLUMNS}


def error_of(row: Row, metric: str) -> float | None:
    """The standard error of a figure over windows; None where there is none, or the figure is rounding."""
    value, error = row.metrics.get(metric), row.metrics.get(ERRORS[metric]) if metric in ERRORS else None
    return None if value is None or (metric == KL and value <= FLOOR) else error


def interval(row: Row, metric: str) -> tuple[float, float] | None:
    """The 95 % interval of a figure: of a mean over windows by its standard error, of a share of so many Wilson's."""
    if metric in OF_COUNTS:
        named = metric.removesuffix("_common")
        low, high = (row.metrics.get(f"{named}_{end}_common") for end in ("low", "high"))
        return None if low is None or high is None else (low, high)
    value, error = row.metrics.get(metric), error_of(row, metric)
    return None if value is None or error is None else (value - Z95 * error, value + Z95 * error)


def written(row: Row, metric: str) -> str:
    """`1.4e-3 ± 0.1e-3`, `97.88 ± 0.12`, `96.0 (93.2 to 97.8)`; without an error the figure alone."""
    value, error = row.metrics.get(metric), error_of(row, metric)
    if value is None:
        return NONE
    ends = interval(row, metric) if metric in OF_COUNTS else None
    if ends is not None:
        return f"{WRITE[metric](value)} ({WRITE[metric](ends[0])} to {WRITE[metric](ends[1])})"
    if metric == KL and error is not None:
        return with_error(value, error)
    return f"{100 * value:.2f} ± {100 * error:.2f}" if error and round(error, 4) else WRITE[metric](value)


def with_error(value: float, error: float) -> str:
    """Nats with their error, in the value's power of ten: digits enough that it shows, or none."""
    if not value or not math.isfinite(error):
        return divergence(value)
    power = int(divergence(value).partition("e")[2] or "0")
    own, its = value / 10.0**power, error / 10.0**power
    digits = next((count for count in (1, 2, 3) if round(its, count)), 0)
    return divergence(value) if not digits else f"{own:.{digits}f}e{power} ± {its:.{digits}f}e{power}"
