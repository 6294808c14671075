"""A PEFT adapter read for runtimes that switch adapters: what it has that none of them takes, and its factors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.adapted import FACTOR, PREFIX, WEIGHT, Update, changes_of
from pipeline.model.adapter import Adapter
from pipeline.model.checkpoint import read_float32
from pipeline.model.lowrank import Factors, LowRank
from pipeline.model.merge import check_finite
from pipeline.model.tensors import shapes_of

LAYER = re.compile(r"model\.layers\.\d+\..+")


def why_unswitchable(adapter: Adapter) -> str:
    """What of an adapter no runtime switches, in words; empty where there is nothing of that kind."""
    if adapter.config.get("use_dora"):
        return "DoRA, which changes the base's own rows"
    names = [name.removeprefix(PREFIX) for name in adapter.tensors]
    modules = [found[1] for name in names if (found := FACTOR.fullmatch(name))]
    outside = next((module for module in modules if not LAYER.fullmatch(module)), "")
    if outside:
        return f"factors of {outside}, which lies outside of the layers"
    whole = next((name for name in names if not FACTOR.fullmatch(name)), "")
    return f"a whole tensor of its own ({whole})" if whole else ""


def check_switchable(adapter: Adapter, setting: str) -> None:
    """Raises CheckpointError for an adapter that no runtime switches; `setting` is what takes it merged."""
    why = why_unswitchable(adapter)
    if why:
        raise CheckpointError(
            f"it has {why}: no runtime switches that", where=adapter.where, hint=f"{setting}={adapter.folder} merges it"
        )


def low_rank(adapter: Adapter, config: Mapping[str, Any]) -> LowRank:
    """The factors of a switchable adapter for a base with this config.json (canonical).

    What was trained on parts of a fused matrix is put together; lower ranks are filled up with zeros. Where modules
    have scales of their own, those are multiplied into B.
    Raises CheckpointError for an adapter that does not fit, as a merge does.
    """
    import numpy as np

    changes, shapes = changes_of(adapter, config), shapes_of(config)
    check_finite(adapter, changes)
    scales = {update.scale for updates in changes.updates.values() for update in updates}
    one = scales.pop() if len(scales) == 1 else None
    found = {}
    for tensor, updates in changes.updates.items():
        found[tensor.removesuffix(WEIGHT)] = _together(updates, shapes[tensor][0], one is None)
    rank = max(factors.a.shape[0] for factors in found.values())
    for module, factors in found.items():
        more = rank - factors.a.shape[0]
        found[module] = Factors(np.pad(factors.a, ((0, more), (0, 0))), np.pad(factors.b, ((0, 0), (0, more))))
    return LowRank(rank, rank * (1.0 if one is None else one), dict(sorted(found.items())))


def _together(updates: list[Update], rows: int, scaled: bool) -> Factors:
    """One pair of factors of several updates, each in its rows."""
    import numpy as np

    a = np.concatenate([read_float32(update.a) for update in updates])
    b = np.zeros((rows, a.shape[0]), np.float32)
    at = 0
    for update in updates:
        part = read_float32(update.b)
        place = b[update.first : update.first + update.rows, at : at + part.shape[1]]
        place[:] = part * np.float32(update.scale) if scaled else part
        at += part.shape[1]
    return Factors(np.ascontiguousarray(a), b)
