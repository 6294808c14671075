"""A base and its fine-tunes by adapter, side by side: what the packages of each answer right, of the same data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.reporting.figures import COLUMNS, NONE, Column, markdown_table
from pipeline.rows import Row

FIGURES = tuple(
    column
    for column in COLUMNS
    if column.metric in ("perplexity_common", "task_accuracy_common", "tasks_passed_common")
)
AXES = ("precision", "backend", "target", "figure")


@dataclass(frozen=True)
class Beside:
    """Models of one base, which comes first, and a line for each package that two of them have, and each figure."""

    models: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def beside(rows: Sequence[Row]) -> list[Beside]:
    """Of all bases with an adapter that is merged; figures of other data than the first model's are left out."""
    bases: dict[tuple[str, ...], dict[str, bool]] = {}
    for row in rows:
        source = row.settings.get("source", {})
        base = tuple(str(source.get(key) or "") for key in ("path", "repo", "revision"))
        bases.setdefault(base, {})[row.model] = bool(source.get("adapter"))
    found = []
    for models in bases.values():
        if len(models) > 1 and any(models.values()):
            names = tuple(sorted(models, key=lambda name: models[name]))  # the base, then in the plan's order
            lines = _lines(names, [row for row in rows if row.model in models])
            found += [Beside(names, lines)] if lines else []
    return found


def _lines(models: Sequence[str], rows: Sequence[Row]) -> tuple[tuple[str, ...], ...]:
    lines = []
    for key in dict.fromkeys((row.shown, row.backend, row.target) for row in rows):
        same = {row.model: row for row in rows if (row.shown, row.backend, row.target) == key}
        for column in FIGURES:
            told = tuple(_told(same.get(name), same.get(models[0]), column) for name in models)
            if sum(text != NONE for text in told) > 1:
                lines.append((*key, column.header, *told))
    return tuple(lines)


def _told(row: Row | None, first: Row | None, column: Column) -> str:
    if row is None or first is None or any(row.settings.get(of) != first.settings.get(of) for of in ("data", "tasks")):
        return NONE
    return column.text(row)


def beside_in_markdown(one: Beside) -> str:
    """The lines as a table."""
    return markdown_table((*AXES, *one.models), one.lines, texts=len(AXES))
