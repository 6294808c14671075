"""The report as data: cells.json, a metrics file per cell, and the columns DVC plots."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from pipeline.types import JSON

IDENTITY = ("cell", "model", "option", "precision", "backend", "target")
QUALITY_SIZE = (
    "size_bytes",
    "bits_per_weight",
    "kl_nats_mean_common",
    "top1_agreement_common",
    "perplexity_common",
    "task_accuracy_common",
)
SPEED_QUALITY = (
    "decode_tokens_per_s",
    "ttft_ms_p50",
    "kl_nats_mean_common",
    "top1_agreement_common",
    "perplexity_common",
)


def cells_json(records: Sequence[JSON]) -> str:
    """All rows. NaN and infinity are no JSON and raise."""
    return json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def metrics_json(record: JSON) -> str:
    """A row for `dvc metrics show`: flat, with what was not measured left out."""
    figures = {name: value for name, value in record["metrics"].items() if value is not None}
    return json.dumps({"status": record["status"], **figures}, indent=2, allow_nan=False) + "\n"


def plot_csv(records: Sequence[JSON], metrics: Sequence[str]) -> str:
    """The cells that have the first metric (x) and a divergence (y); the header alone where none has."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*IDENTITY, *metrics))
    for record in records:
        figures = record["metrics"]
        if figures[metrics[0]] is not None and figures["kl_nats_mean_common"] is not None:
            named = [record["id" if name == "cell" else name] for name in IDENTITY]
            writer.writerow([*named, *("" if figures[name] is None else figures[name] for name in metrics)])
    return text.getvalue()
