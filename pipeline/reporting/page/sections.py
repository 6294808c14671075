"""The page's tables: a header, and per cell its texts with the numbers to sort by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from pipeline.records import AtLength
from pipeline.reporting.figures import COLUMNS, NOISY, NONE, Column, divergence, rate, status
from pipeline.reporting.uncertain import ERRORS, OF_COUNTS, written
from pipeline.reporting.verdict import called
from pipeline.rows import Row

# the errors stand with their figures, and what else is lost has a table of its own
APART = ("kl_nats_mean_se_common", "kl_nats_p999_common", "rms_delta_p_common")
MAIN = tuple(column for column in COLUMNS if column.metric not in APART)
SPEED = (
    Column("ttft_ms_p50", "first token ms", rate, speed=True),
    Column("ttft_ms_p95", "95 % ms", rate, speed=True),
    Column("prefill_tokens_per_s", "prompt tok/s", rate, speed=True),
    Column("decode_tokens_per_s", "decode tok/s", rate, speed=True),
    Column("peak_rss_bytes", "memory MB", lambda value: f"{value / 1e6:,.0f}", speed=True),
    Column("load_s", "load s", lambda value: f"{value:.2f}", speed=True),
)
LOST = (
    Column("kl_nats_mean_common", "KL mean", divergence),
    Column("kl_nats_p50_common", "median", divergence),
    Column("kl_nats_p99_common", "99 %", divergence),
    Column("kl_nats_p999_common", "99.9 %", divergence),
    Column("kl_nats_max_common", "largest", divergence),
    Column("flips_common", "flips %", lambda value: f"{100 * value:.2f}"),
    Column("rms_delta_p_common", "RMS Δp %", lambda value: f"{100 * value:.2f}"),
    Column("answer_flips_common", "answer flips %", lambda value: f"{100 * value:.1f}"),
    Column("task_accuracy_common", "answers right %", lambda value: f"{100 * value:.1f}"),
    Column("tasks_passed_common", "tasks passed %", lambda value: f"{100 * value:.1f}"),
    Column("task_flips_common", "task flips %", lambda value: f"{100 * value:.1f}"),
    Column("tasks_never_ended_common", "never ended %", lambda value: f"{100 * value:.1f}"),
)


@dataclass(frozen=True)
class Line:
    """A row of a table; `held` has each column's text and number, None where there is none."""

    row: Row
    name: str
    status: str
    held: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class Table:
    """`header` names the columns behind the cell's name and target."""

    header: tuple[str, ...]
    lines: tuple[Line, ...]


def table(rows: Sequence[Row], columns: Sequence[Column]) -> Table:
    """The columns that any row has, with a line per row."""
    kept = [column for column in columns if any(row.metrics.get(column.metric) is not None for row in rows)]
    lines = [
        Line(row, called(row, rows), status(row), tuple((cell_text(row, c), row.metrics.get(c.metric)) for c in kept))
        for row in rows
    ]
    return Table(tuple(column.header for column in kept), tuple(lines))


def speeds(rows: Sequence[Row]) -> Table:
    """Of the cells whose speed was measured, with what a runtime's users look for as well: other lengths of prompts."""
    timed = [row for row in rows if row.metrics.decode_tokens_per_s is not None]
    held, more = table(timed, SPEED), list(dict.fromkeys(name for row in timed for name in row.extra))
    lines = tuple(
        replace(line, held=(*line.held, *((_extra(line.row, name), line.row.extra.get(name)) for name in more)))
        for line in held.lines
    )
    return Table((*held.header, *(_named(name) for name in more)), lines)


def lengths(rows: Sequence[Row]) -> Table:
    """Speed and memory behind longer prompts: a line for each cell and length, empty where one length was measured."""
    header = ("prompt tokens", "first token ms", "prompt tok/s", "decode tok/s", "memory MB")
    lines = [
        Line(row, called(row, rows), status(row), _at(row, at)) for row in rows for at in _lengths(row) if row.longer
    ]
    return Table(header, tuple(lines))


def _lengths(row: Row) -> list[AtLength]:
    found = row.metrics
    names = [field.name for field in fields(AtLength)][1:]
    shortest = row.settings.get("benchmark", {}).get("prompt_tokens", 0)
    return [AtLength(shortest, *(getattr(found, name) for name in names)), *row.longer]


def _at(row: Row, at: AtLength) -> tuple[tuple[str, float | None], ...]:
    mark = NOISY if row.noisy else ""
    return (
        (f"{at.prompt_tokens:,}", at.prompt_tokens),
        (rate(at.ttft_ms_p50) + mark, at.ttft_ms_p50),
        (rate(at.prefill_tokens_per_s) + mark, at.prefill_tokens_per_s),
        (rate(at.decode_tokens_per_s) + mark, at.decode_tokens_per_s),
        (f"{at.peak_rss_bytes / 1e6:,.0f}", at.peak_rss_bytes),
    )


def _extra(row: Row, name: str) -> str:
    value = row.extra.get(name)
    return NONE if value is None else rate(value) + (NOISY if row.noisy else "")


def _named(name: str) -> str:
    """`prefill 512 tok/s` of `prefill_512_tokens_per_s`."""
    return name.replace("_tokens_per_s", " tok/s").replace("_", " ")


def cell_text(row: Row, column: Column) -> str:
    """A figure with its error, where one is known; the interval of a share where there is room for it."""
    known = column.metric in ERRORS or (column.metric in OF_COUNTS and column in LOST)
    return written(row, column.metric) if known else column.text(row)


def lost(rows: Sequence[Row]) -> Table:
    """What a cell gives away against the reference, of the cells that were evaluated."""
    held = table([row for row in rows if row.metrics.kl_nats_mean_common is not None], LOST)
    more = list(dict.fromkeys(name for line in held.lines for name in line.row.harness or {} if "_stderr" not in name))
    lines = tuple(
        replace(line, held=(*line.held, *(_of_harness(line.row, name) for name in more))) for line in held.lines
    )
    return Table((*held.header, *more), lines)


def _of_harness(row: Row, name: str) -> tuple[str, float | None]:
    value = (row.harness or {}).get(name)
    return (NONE, None) if value is None else (f"{value:.4g}", value)
