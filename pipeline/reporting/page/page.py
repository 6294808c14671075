"""reports/index.html: verdicts, pictures, tables, what is missing and how it was made, of the report's rows."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from pipeline.planned import Plan
from pipeline.reporting.choice import targets_of
from pipeline.reporting.comparable import note
from pipeline.reporting.figures import NOISY, tally, title
from pipeline.reporting.missing import missing
from pipeline.reporting.page.bundle import BUNDLE
from pipeline.reporting.page.charts import chart, gates, points
from pipeline.reporting.page.frontier import frontier
from pipeline.reporting.page.made import commands, made_of, models_of
from pipeline.reporting.page.samples import samples
from pipeline.reporting.page.sections import MAIN, lost, speeds, table
from pipeline.reporting.pictures.points import PICTURES
from pipeline.reporting.verdict import Said, verdict
from pipeline.rows import Row
from pipeline.types import JSON

HERE = Path(__file__).parent
FILTERS = ("model", "target", "backend")


def page(rows: Sequence[Row], plan: Plan, found: Sequence[JSON] = ()) -> str:
    """The whole page; the same rows give the same text. Every text in it is escaped. found: points of searches."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    said = [verdict(rows, target) for target in targets_of(rows)]
    shown = points(rows, [one.choice for one in said])
    colours = {name: look.colour for name, look in plan.backends.items()}
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(
        title=title(rows, plan.suite),
        tally=tally(rows),
        verdicts=[(one, _of(rows, one)) for one in said],
        filters={name: _options(rows, name) for name in FILTERS},
        data={"cells": shown, "gates": gates(rows, shown), "searches": list(found)},
        frontier=frontier(found, colours),
        charts=[
            (picture.title, chart(shown, colours, "speed" if picture.speed else "size", picture.x_label))
            for picture in PICTURES
        ],
        table=table(rows, MAIN),
        lost=lost(rows),
        samples=samples(rows),
        speed=speeds(rows),
        missing=missing(rows, plan.excluded),
        models=models_of(rows),
        rows=rows,
        made_of=made_of,
        commands=commands,
        shipped={one.choice.choice for one in said},
        notes=_notes(rows),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        vega=base64.b64encode(BUNDLE.read_bytes()).decode(),
    )


def _of(rows: Sequence[Row], said: Said) -> Row | None:
    """The row that a verdict ships."""
    return next((row for row in rows if row.id == said.choice.choice), None)


def _options(rows: Sequence[Row], name: str) -> list[str]:
    return list(dict.fromkeys(str(getattr(row, name)) for row in rows))


def _notes(rows: Sequence[Row]) -> list[str]:
    said = [note(rows)] if note(rows) else []
    if any(row.noisy for row in rows):
        said.append(f"{NOISY} Other programs kept the machine busy: measure again before comparing speed.")
    return said
