"""Whether a cell is better than another in KL: window by window, for two means alone do not say."""

from __future__ import annotations

from pipeline.metrics.uncertainty import Difference, paired
from pipeline.reporting.figures import FLOOR
from pipeline.rows import Row


def better(one: Row, other: Row) -> int:
    """1 where `one` diverges less, -1 where it diverges more, 0 where its tokens show no difference.

    Cells of one model are compared window by window. Where that gives no interval (one window, another model, or no
    sums), the means decide.
    """
    own, its = one.metrics.kl_nats_mean_common, other.metrics.kl_nats_mean_common
    if own is None or its is None or max(own, its) <= FLOOR:
        return 0
    found = difference(one, other)
    if found is not None and found.shown is False:
        return 0
    return (own < its) - (own > its)


def difference(one: Row, other: Row) -> Difference | None:
    """The difference of their KL; None where they did not see the same tokens."""
    if one.model != other.model or one.shared is None or other.shared is None:
        return None
    return paired(one.shared, other.shared)


def remark(one: Row, other: Row) -> str:
    """What must be said beside two KLs: that the tokens show no difference, or give no interval; otherwise nothing."""
    own, its = one.metrics.kl_nats_mean_common, other.metrics.kl_nats_mean_common
    found = difference(one, other)
    if own is None or its is None or own == its or max(own, its) <= FLOOR or found is None or found.shown:
        return ""
    if found.shown is None:
        return f"{found.tokens:,} tokens in one window give no interval"
    said = f"no difference that {found.tokens:,} tokens can show"
    return f"{said}, some {_rounded(found.needed):,} would" if found.needed else said


def _rounded(tokens: int) -> int:
    """Up, to two digits."""
    step: int = 10 ** max(0, len(str(tokens)) - 2)
    return -(-tokens // step) * step
