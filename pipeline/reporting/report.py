"""report: everything measured, side by side, for people (summary.md, pictures) and programs (JSON, CSV)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pipeline import layout
from pipeline.planned import Plan
from pipeline.reporting import tables
from pipeline.reporting.cells import cell_rows
from pipeline.reporting.compact import metrics_json
from pipeline.reporting.page.made import commit_of
from pipeline.reporting.page.page import page, same_page
from pipeline.reporting.pictures.draw import draw
from pipeline.reporting.replace import replace
from pipeline.reporting.searched import searched
from pipeline.reporting.summary import same_summary, summary
from pipeline.rows import Row
from pipeline.types import Status


def write_report(plan: Plan, root: Path = Path()) -> list[Row]:
    """Write reports/ from what the plan's cells left behind; returns the rows of cells.json.

    Only files whose content changes are written, so that a second report costs nothing.
    """
    rows = cell_rows(plan, root)
    reports = root / layout.REPORTS
    metrics = reports / "metrics.json"
    if not metrics.is_file() or any(row.status is not Status.NOT_RUN for row in rows):  # a clone has them in git
        replace(metrics, metrics_json(rows))
    replace(reports / "quality_size.csv", tables.plot_csv(rows, tables.QUALITY_SIZE))
    replace(reports / "speed_quality.csv", tables.plot_csv(rows, tables.SPEED_QUALITY))
    commit = commit_of(root)
    written = f"{datetime.now(UTC):%Y-%m-%d}{f', commit {commit}' if commit else ''}"
    _replace_page(reports / "summary.md", summary(rows, plan.excluded, plan.suite, written), same_summary)
    draw(rows, {name: look.colour for name, look in plan.backends.items()}, reports)
    _replace_page(reports / "index.html", page(rows, plan, searched(plan, rows, root), commit), same_page)
    replace(root / layout.CELLS, tables.cells_json(rows))
    return rows


def _replace_page(path: Path, text: str, same: Callable[[str, str], bool]) -> None:
    """A page that tells the same of another commit stays: DVC has its digest."""
    if not (path.is_file() and same(path.read_text(encoding="utf-8", errors="replace"), text)):
        replace(path, text)
