"""The report as data: cells.json, and the columns DVC plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import ArtifactError
from pipeline.files import read_json
from pipeline.rows import Row
from pipeline.strict import read, to_json

IDENTITY = ("cell", "model", "option", "precision", "backend", "target")
QUALITY_SIZE = (
    "size_bytes",
    "bits_per_weight",
    "kl_nats_mean_common",
    "top1_agreement_common",
    "perplexity_common",
    "task_accuracy_common",
    "tasks_passed_common",
)
SPEED_QUALITY = (
    "decode_tokens_per_s",
    "ttft_ms_p50",
    "kl_nats_mean_common",
    "top1_agreement_common",
    "perplexity_common",
)


def cells_json(rows: Sequence[Row]) -> str:
    """All rows. NaN and infinity are no JSON and raise."""
    return to_json(rows)


def read_cells(path: Path) -> list[Row]:
    """The rows of a report. Raises ArtifactError for a missing, broken or older one."""
    found = read_json(path)
    if not isinstance(found, list):
        raise ArtifactError("not a list of cells", where=str(path), hint="make it: python -m pipeline report")
    return [read(Row, row, f"{path}[{number}]") for number, row in enumerate(found)]


def plot_csv(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """The cells that have the first metric (x) and a divergence (y); the header alone where none has."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*IDENTITY, *metrics))
    for row in rows:
        figures = row.metrics
        if figures.get(metrics[0]) is not None and figures.kl_nats_mean_common is not None:
            named = [getattr(row, "id" if name == "cell" else name) for name in IDENTITY]
            writer.writerow([*named, *("" if (value := figures.get(name)) is None else value for name in metrics)])
    return text.getvalue()
