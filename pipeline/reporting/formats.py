"""The formats side by side, for a page of docs: each backend's figures per precision, between two markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import DataError
from pipeline.files import write_text
from pipeline.reporting.chapters import builds
from pipeline.reporting.figures import COLUMNS, markdown_table
from pipeline.rows import Row

START, END = "<!-- figures: start -->\n", "<!-- figures: end -->\n"
SHOWN = ("size_bytes", "bits_per_weight", "kl_nats_mean_common", "top1_agreement_common", "decode_tokens_per_s")


def formats_table(rows: Sequence[Row], formats: Mapping[str, str]) -> str:
    """Markdown: one row per format (of a backend: `formats`), precision and tokens compared, of each model."""
    columns = [column for column in COLUMNS if column.metric in SHOWN]
    header = ["model", "target", "format", "precision", *(column.header for column in columns)]
    order = list(formats)
    targets = list(dict.fromkeys(row.target for row in rows))
    kept = sorted(builds(rows), key=lambda row: (row.model, targets.index(row.target), order.index(row.backend)))
    lines = [
        [row.model, row.target, formats[row.backend], row.shown, *(column.text(row) for column in columns)]
        for row in kept
    ]
    return markdown_table(header, lines, texts=4)


def fill(page: Path, rows: Sequence[Row], formats: Mapping[str, str]) -> None:
    """Put the table between the page's markers. Raises DataError when it has none."""
    text = page.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise DataError(f"it has no lines {START.strip()} and {END.strip()}", where=str(page))
    before, _, rest = text.partition(START)
    write_text(page, f"{before}{START}\n{formats_table(rows, formats)}\n{END}{rest.partition(END)[2]}")
