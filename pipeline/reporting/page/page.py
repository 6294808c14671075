"""reports/index.html: verdicts, pictures, tables, what is missing and how it was made, of the report's rows."""

from __future__ import annotations

import base64
import re
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
from pipeline.reporting.page.made import commands, made_of, models_of, steps
from pipeline.reporting.page.samples import samples, task_samples
from pipeline.reporting.page.sections import MAIN, lengths, lost, speeds, table
from pipeline.reporting.pictures.points import PICTURES
from pipeline.reporting.tunes import beside
from pipeline.reporting.verdict import Said, verdict
from pipeline.rows import Row
from pipeline.types import JSON
from pipeline.version import VERSION

HERE = Path(__file__).parent
COMMIT = re.compile(r'<code id="commit">[^<]*</code>')
FILTERS = ("model", "target", "backend")


def page(rows: Sequence[Row], plan: Plan, found: Sequence[JSON] = (), commit: str = "") -> str:
    """The whole page; the same rows give the same text. Every text in it is escaped.

    found: points of searches. commit: of the project, for people; `same_page` does not look at it.
    """
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
        tasks=task_samples(rows),
        tunes=beside(rows),
        speed=speeds(rows),
        lengths=lengths(rows),
        missing=missing(rows, plan.excluded),
        models=models_of(rows),
        rows=rows,
        made_of=made_of,
        commands=commands,
        steps=steps,
        commit=commit,
        version=VERSION,
        shipped={one.choice.choice for one in said},
        notes=_notes(rows),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        vega=base64.b64encode(BUNDLE.read_bytes()).decode(),
    )


def same_page(one: str, other: str) -> bool:
    """Whether two pages are the same but for the commit that they were made at."""
    return COMMIT.sub("", one) == COMMIT.sub("", other)


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
