"""reports/metrics.json: per target what to ship and its figures, few and short, for `dvc metrics` and `dvc exp show`.

DVC makes a column of each and rounds to five decimals, hence the logarithm beside the divergence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from pipeline.reporting.choice import recommend, targets_of
from pipeline.reporting.verdict import called
from pipeline.rows import Row
from pipeline.types import Status

MOST = 30  # columns
SPEEDS = ("tokens_per_s", "noisy_tokens_per_s")  # one of them: a diff must not compare a busy machine with a quiet one
FIGURES = ("ship", "log10_kl", "size_mb", SPEEDS[0], "top1_percent", "kl_nats", "accuracy_percent")


def metrics_json(rows: Sequence[Row]) -> str:
    """{cells_ok, target: {ship, log10_kl, …}}; with many targets the last of FIGURES are left out of each."""
    targets = targets_of(rows)
    kept = {*FIGURES[: max(1, (MOST - 1) // max(len(targets), 1))]}
    kept |= set(SPEEDS) if SPEEDS[0] in kept else set()
    held: dict[str, object] = {"cells_ok": sum(row.status is Status.OK for row in rows)}
    for target in targets[: MOST - 1]:
        held[target] = {name: value for name, value in _figures(rows, target).items() if name in kept}
    return json.dumps(held, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _figures(rows: Sequence[Row], target: str) -> dict[str, str | float]:
    choice = recommend(rows, target)
    row = next((row for row in rows if row.id == choice.choice), None)
    if row is None:
        return {"ship": "nothing"}
    metrics, cells = row.metrics, [row for row in rows if row.target == target]
    kl, found = metrics.kl_nats_mean_common, {"ship": called(row, cells)}
    measured = {
        "log10_kl": round(math.log10(kl), 2) if kl else None,
        "size_mb": _share(metrics.size_bytes, 1e-6),
        "tokens_per_s": None if row.noisy else _share(metrics.decode_tokens_per_s, 1),
        "noisy_tokens_per_s": _share(metrics.decode_tokens_per_s, 1) if row.noisy else None,
        "top1_percent": _share(metrics.top1_agreement_common, 100),
        "kl_nats": float(f"{kl:.3g}") if kl is not None else None,
        "accuracy_percent": _share(metrics.task_accuracy_common, 100),
    }
    return {**found, **{name: value for name, value in measured.items() if value is not None}}


def _share(value: float | None, factor: float) -> float | None:
    return None if value is None else round(value * factor, 2)
