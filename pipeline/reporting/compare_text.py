"""A comparison of two runs for people: on the terminal, and as the comment under a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.reporting.compare import Change, Comparison, VerdictChange
from pipeline.reporting.figures import COLUMNS, NONE, Column, markdown_table
from pipeline.reporting.uncertain import ACCURACY, KL, TASKS, TOP1

MORE = (Column("peak_rss_bytes", "memory MB", lambda value: f"{value / 1e6:,.0f}", speed=True),)
SHARES = (TOP1, ACCURACY, TASKS)
WRITE = {column.metric: column for column in (*COLUMNS, *MORE)}


def text(comparison: Comparison) -> str:
    """Plain lines, each figure on its own, as narrow as they come."""
    lines = [headline(comparison), ""]
    lines += [f"{verdict.target}: {_verdict(verdict)}" for verdict in comparison.verdicts]
    for title, cells in (("added", comparison.added), ("gone", comparison.gone)):
        lines += ["", f"{title}:", *(f"  {cell}" for cell in cells)] if cells else []
    for cell in comparison.changed:
        lines += ["", f"{cell.id}: {_status(cell.before, cell.now, cell.misses)}"]
        lines += [f"  {WRITE[change.metric].header:<10} {_change(change)}" for change in cell.figures if change.moved]
    lines += ["", *(f"not compared: {line}" for line in _apart(comparison))] if _apart(comparison) else []
    return "\n".join(lines) + "\n"


def markdown(comparison: Comparison, title: str) -> str:
    """The comment: verdicts first, a table of what changed, the rest folded."""
    parts = [f"## {title}\n\n{headline(comparison)}\n"]
    parts.append(
        markdown_table(
            ("target", "ship", "before"),
            [
                (v.target, _code(v.now), "the same" if v.now == v.before else _code(v.before))
                for v in comparison.verdicts
            ],
        )
    )
    if comparison.changed:
        metrics = [
            m for m in WRITE if any(c.metric == m and c.moved for cell in comparison.changed for c in cell.figures)
        ]
        lines = []
        for cell in comparison.changed:
            by_metric = {change.metric: change for change in cell.figures}
            said = [_change(by_metric[m]) if by_metric[m].moved else "=" for m in metrics]
            lines.append((_code(cell.id), *said, _status(cell.before, cell.now, cell.misses)))
        parts.append(markdown_table(("cell", *(WRITE[m].header for m in metrics), "status"), lines))
    for name, cells in (("Added", comparison.added), ("Gone", comparison.gone)):
        parts.append(_folded(f"{name} ({len(cells)})", [_code(cell) for cell in cells]))
    parts.append(_folded("Not compared", _apart(comparison)))
    return "\n".join(part for part in parts if part)


def headline(comparison: Comparison) -> str:
    """`Against main (1a2b3c4): 2 cells added, none gone, 3 of 12 changed; another package is shipped to cpu.`"""
    counts = [f"{len(comparison.added)} added", f"{len(comparison.gone)} gone"]
    other = [verdict.target for verdict in comparison.verdicts if verdict.before != verdict.now]
    said = f"; another choice for {', '.join(other)}" if other else "; every target ships what it did"
    changed = f"{len(comparison.changed)} of {len(comparison.cells)} cells changed"
    return f"Against {comparison.base}: {changed}, {', '.join(counts)}{said}."


def _verdict(verdict: VerdictChange) -> str:
    now = verdict.now or "nothing passes its gates"
    return f"{now}, as before" if verdict.now == verdict.before else f"{now} (before: {verdict.before or 'nothing'})"


def _status(before: str, now: str, misses: Sequence[str]) -> str:
    said = before if before == now else f"{before} → {now}"
    return f"{said} ({', '.join(misses)})" if misses and before != now else said


def _change(change: Change) -> str:
    """`4.2e-2 → 1.3e-3 (÷ 32)`, `5.0 → 3.5 (−30 %)`."""
    write = WRITE[change.metric].write
    before, now = (NONE if value is None else write(value) for value in (change.before, change.now))
    relative = change.relative
    if relative is None:
        return f"{before} → {now}"
    if change.metric in SHARES and change.before is not None and change.now is not None:
        by = f"{100 * (change.now - change.before):+.2f} points".replace("-", "−")
    elif relative >= 1 or -1 < relative <= -0.5:
        by = f"× {1 + relative:.2g}" if relative >= 1 else f"÷ {1 / (1 + relative):.2g}"
    else:
        by = f"{100 * relative:+.2g} %".replace("-", "−")
    return f"{before} → {now} ({by}{_between(change)})"


def _between(change: Change) -> str:
    """`; 95 %: −4.2e-2 to −3.8e-2`: the interval of the difference."""
    if change.low is None or change.high is None:
        return ""
    write = WRITE[change.metric].write
    ends = (f"{'−' if end < 0 else '+'}{write(abs(end))}" for end in (change.low, change.high))
    return f"; 95 %: {' to '.join(ends)}"


def _apart(comparison: Comparison) -> list[str]:
    """What cannot be compared, once per reason."""
    reasons: dict[tuple[str, str], int] = {}
    for cell in comparison.cells:
        for change in cell.figures:
            if change.reason:
                key = WRITE[change.metric].header, change.reason
                reasons[key] = reasons.get(key, 0) + 1
    said = [f"{name} of {count} cells: {reason}" for (name, reason), count in reasons.items()]
    for metric in (KL, TOP1):
        alike = [c for cell in comparison.cells for c in cell.figures if c.metric == metric and _alike(c)]
        if alike:
            said.append(f"{WRITE[metric].header} of {len(alike)} cells: no difference that these tokens can show")
    return said


def _alike(change: Change) -> bool:
    """Whether two figures differ by less than their tokens can show."""
    return not change.reason and not change.same and not change.shown


def _code(cell: str | None) -> str:
    return f"`{cell}`" if cell else "nothing passes its gates"


def _folded(head: str, lines: Sequence[str]) -> str:
    items = "\n".join(f"- {line}" for line in lines)
    return f"<details><summary>{head}</summary>\n\n{items}\n\n</details>\n" if lines else ""
