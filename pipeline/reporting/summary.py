"""The report as a Markdown page: the verdicts, the pictures, and the rest folded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from pipeline.reporting.chapters import chapters
from pipeline.reporting.choice import targets_of
from pipeline.reporting.comparable import note
from pipeline.reporting.figures import AXES, COLUMNS, NOISY, axis, markdown_table, status, tally, title
from pipeline.reporting.missing import missing
from pipeline.reporting.pictures.points import PICTURES
from pipeline.reporting.tunes import beside, beside_in_markdown
from pipeline.reporting.verdict import Said, verdict
from pipeline.rows import Row

MEANING = """\
KL is the mean divergence of a cell's next-token distribution from transformers in fp32, in nats per token:
0 is identical. Perplexity (ppl), top-1 (how often both put the same token first) and accuracy (acc) use the
same tokens and questions for every cell.

Speed is measured from the package, in a fresh process on the target: tok/s while decoding, and the median
time to the first token (TTFT). Bits/w is the storage of all weights, scales included, per parameter.
"""


WRITTEN = re.compile(r"^Written .*$", re.MULTILINE)


def summary(rows: Sequence[Row], excluded: Mapping[str, str], suite: str = "", written: str = "") -> str:
    """The page: verdicts, pictures, tables, meaning, what is not there and why.

    written: when, and at which commit: for people; `same_summary` does not look at it.
    """
    targets = targets_of(rows)
    parts = [f"# {title(rows, suite)}\n\n{tally(rows)}.\n"]
    for target in targets:
        said = verdict(rows, target)
        parts.append(said_in_markdown(said))
        chosen = next((row for row in rows if row.id == said.choice.choice), None)
        if chosen and chosen.examples:
            parts.append(folded(f"Where {chosen.id} goes on otherwise than the reference", side_by_side(chosen)))
        if chosen and chosen.tasks:
            parts.append(folded(f"Tasks that {chosen.id} answers otherwise than the reference", tasks_beside(chosen)))
    for one in beside(rows):
        parts.append(f"## {one.models[0]} and its fine-tunes\n\n{beside_in_markdown(one)}")
    parts.append("".join(f"![{picture.title}]({picture.name})\n" for picture in PICTURES))
    for target in targets:
        same = [row for row in rows if row.target == target]
        parts.append(folded(f"{target}: {tally(same)}", _table(same)))
    notes = [note(rows)] if note(rows) else []
    if any(row.noisy for row in rows):
        notes.append(f"{NOISY} Other programs kept the machine busy; measure again before comparing speed.")
    parts += [f"{text}\n" for text in notes]
    parts.append(folded("What the figures mean", MEANING))
    parts.append(folded("What each precision costs and brings", chapters(rows)))
    parts += [folded(f"{name} ({len(lines)})", _list(lines)) for name, lines in missing(rows, excluded).items()]
    parts.append(f"Written {written}.\n" if written else "")
    return "\n".join(part for part in parts if part)


def same_summary(one: str, other: str) -> bool:
    """Whether two pages are the same but for when, and at which commit, they were written."""
    return WRITTEN.sub("", one) == WRITTEN.sub("", other)


def said_in_markdown(said: Said) -> str:
    """A target's verdict: the sentence, what it costs, what one would get instead."""
    lines = [f"## {said.target}\n", f"**{said.lead}** {said.costs}".rstrip()]
    if said.choice.choice:
        lines.append(f"It rests on {said.choice.rests_on}; `{said.choice.choice}`.")
    if said.instead:
        lines += ["", *(f"- {other}" for other in said.instead)]
    return "\n".join(lines) + "\n"


def side_by_side(row: Row) -> str:
    """Prompts with the reference's continuation and the cell's own."""
    lines = [[_quoted(one.prompt), _quoted(one.reference), _quoted(one.build)] for one in row.examples]
    return markdown_table(("prompt", "reference", row.shown), lines)


def tasks_beside(row: Row) -> str:
    """Chat tasks with their checks, the reference's answer and the cell's own."""

    def told(said: str, passed: bool) -> str:
        return f"{'passes' if passed else 'fails'}: {_quoted(said)}"

    lines = [
        (
            _quoted(one.asked),
            _quoted(one.check),
            told(one.reference, one.reference_passed),
            told(one.build, one.build_passed),
        )
        for one in row.tasks
    ]
    return markdown_table(("task", "check", "reference", row.shown), lines)


def _quoted(text: str) -> str:
    """A text as code on one line of a table: line breaks as ↵, backticks as their like."""
    return f"`{' '.join(text.replace(chr(10), ' ↵ ').split()).replace('`', 'ˋ')}`"


def folded(head: str, text: str) -> str:
    """A part that GitHub, MLflow and editors show when it is opened."""
    return f"<details><summary>{head}</summary>\n\n{text.strip()}\n\n</details>\n" if text.strip() else ""


def _table(rows: Sequence[Row]) -> str:
    header = [*AXES.values(), *(column.header for column in COLUMNS), "status"]
    lines = [[*(axis(row, name) for name in AXES), *(c.text(row) for c in COLUMNS), _status(row)] for row in rows]
    widths = [max(len(line[i]) for line in (header, *lines)) for i in range(len(header))]
    numbers = range(len(AXES), len(header) - 1)

    def write(line: list[str]) -> str:
        cells = (
            text.rjust(w) if i in numbers else text.ljust(w)
            for i, (text, w) in enumerate(zip(line, widths, strict=True))
        )
        return f"| {' | '.join(cells)} |\n"

    rule = "|".join("-" * (w + 1) + ":" if i in numbers else "-" * (w + 2) for i, w in enumerate(widths))
    return write(header) + f"|{rule}|\n" + "".join(write(line) for line in lines)


def _status(row: Row) -> str:
    shown = status(row)
    return shown if shown == "ok" else f"**{shown}**"


def _list(lines: Iterable[tuple[str, str]]) -> str:
    """The names before a reason are cells, with commas between."""
    return "".join(f"- `{cells.replace(', ', '`, `')}`: {reason}\n" for cells, reason in lines)
