"""report: everything measured, side by side, for people (summary.md, pictures) and programs (JSON, CSV)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.reporting import tables
from pipeline.reporting.cells import cell_records
from pipeline.reporting.pictures.draw import draw
from pipeline.reporting.replace import keep_only, replace
from pipeline.reporting.summary import summary
from pipeline.types import JSON


def write_report(params: Mapping[str, Any], root: Path = Path()) -> list[JSON]:
    """Write reports/ from what the plan's cells left behind; returns the rows of cells.json.

    Only files whose content changes are written, so that a second report costs nothing.
    """
    plan = params["plan"]
    records = cell_records(plan, root)
    reports = root / layout.REPORTS
    for record in records:
        replace(reports / "metrics" / f"{record['id']}.json", tables.metrics_json(record))
    keep_only(reports / "metrics", {f"{record['id']}.json" for record in records})
    replace(reports / "quality_size.csv", tables.plot_csv(records, tables.QUALITY_SIZE))
    replace(reports / "speed_quality.csv", tables.plot_csv(records, tables.SPEED_QUALITY))
    replace(reports / "summary.md", summary(records, plan.get("excluded") or {}))
    draw(records, reports)
    replace(root / layout.CELLS, tables.cells_json(records))
    return records
