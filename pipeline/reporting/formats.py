"""The formats side by side, for a page of docs: each backend's figures per precision, between two markers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import DataError
from pipeline.files import write_text
from pipeline.reporting.chapters import builds
from pipeline.reporting.figures import COLUMNS
from pipeline.types import JSON

FORMATS = {"onnxruntime": "ONNX", "openvino": "OpenVINO IR", "llamacpp": "GGUF", "mlx": "MLX"}
START, END = "<!-- figures: start -->\n", "<!-- figures: end -->\n"
SHOWN = ("size_bytes", "bits_per_weight", "kl_nats_mean_common", "top1_agreement_common", "decode_tokens_per_s")


def formats_table(records: Sequence[JSON]) -> str:
    """Markdown: one row per format and precision, of each model."""
    columns = [column for column in COLUMNS if column.metric in SHOWN]
    header = ["model", "format", "precision", *(column.header for column in columns)]
    lines = [header, ["---" if i < 3 else "---:" for i in range(len(header))]]
    for row in sorted(builds(records), key=lambda row: (row["model"], list(FORMATS).index(row["backend"]))):
        axes = [row["model"], FORMATS[row["backend"]], row["shown"]]
        lines.append([*axes, *(column.text(row) for column in columns)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def fill(page: Path, records: Sequence[JSON]) -> None:
    """Put the table between the page's markers. Raises DataError when it has none."""
    text = page.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise DataError(f"it has no lines {START.strip()} and {END.strip()}", where=str(page))
    before, _, rest = text.partition(START)
    write_text(page, f"{before}{START}\n{formats_table(records)}\n{END}{rest.partition(END)[2]}")
