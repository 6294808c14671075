"""How a cell is told in MLflow: one figure per quality, a tag per gate, a line, a description. Imports no MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.matrix.gates import missed, passes
from pipeline.reporting.figures import AXES, COLUMNS, NOISY, axis, markdown_table, one_line
from pipeline.rows import Figures, Row, Verdict
from pipeline.strict import plain
from pipeline.types import Status

KL, KL_LOG10 = "kl_nats_mean", "kl_log10"
SMALLEST_KL = 1e-15  # of what float64 tells apart; log10 of less is this
COMMON, DEFAULT_MODE = "_common", "_default_mode"
MEGABYTES = {"size_bytes": "size_mb", "peak_rss_bytes": "peak_rss_mb"}
RENAMED = {"common_tokens": "evaluated_tokens"}
DIGITS = 6
LINE = ("kl_nats_mean_common", "top1_agreement_common", "size_bytes", "decode_tokens_per_s")
UNITS = {
    "kl_nats_mean_common": "KL {}",
    "top1_agreement_common": "top-1 {} %",
    "size_bytes": "{} MB",
    "decode_tokens_per_s": "{} tokens/s",
}


def figures(metrics: Figures) -> dict[str, float]:
    """The figures that were measured, each once: quality on the tokens that are compared and judged, sizes in MB.

    What is left to cells.json: quality on all of a cell's own tokens, and by default mode. `kl_log10` is for pictures.
    """
    held = {name: value for name, value in plain(metrics).items() if value is not None and DEFAULT_MODE not in name}
    told: dict[str, float] = {}
    for name, value in held.items():
        plain_name = RENAMED.get(name) or name.removesuffix(COMMON)
        if name != plain_name or plain_name not in told:
            told[plain_name] = float(value)
    for name, short in MEGABYTES.items():
        if name in told:
            told[short] = told.pop(name) / 1e6
    if KL in told:
        from math import log10

        told[KL_LOG10] = log10(max(told[KL], SMALLEST_KL))
    return {name: float(f"{value:.{DIGITS}g}") for name, value in told.items()}


def gate_tags(gates: Sequence[Verdict]) -> dict[str, str]:
    """`gates: passed`, and `gate.max_kl_nats: passed, 0.0014 of 0.1` for each."""
    if not gates:
        return {}
    failed = sum(gate.passed is False for gate in gates)
    tags = {"gates": f"missed {failed} of {len(gates)}" if failed else "passed"}
    for gate in gates:
        verdict = {True: "passed", False: "missed", None: "not measured"}[gate.passed]
        value = "" if gate.value is None else f", {gate.value:.3g}"
        tags[f"gate.{gate.gate}"] = f"{verdict}{value} of {gate.bound:g}"
    return tags


def name_of(row: Row) -> str:
    """`int4 openvino` of a cell."""
    return f"{row.shown} {row.backend}"


def line(row: Row) -> str:
    """`KL 1.4e-3 · top-1 97.88 % · 3.5 MB · 944.3 tokens/s`: what was measured of it."""
    columns = {column.metric: column for column in COLUMNS}
    return " · ".join(UNITS[name].format(columns[name].text(row)) for name in LINE if row.metrics.get(name) is not None)


def standing(rows: Sequence[Row]) -> str:
    """`18 pass, 2 miss a gate, 1 failed`."""
    ok = [row for row in rows if row.status is Status.OK]
    good = sum(passes(row.gates) for row in ok)
    counts = {"pass": good, "miss a gate": len(ok) - good}
    counts |= {str(status): sum(row.status is status for row in rows) for status in Status if status is not Status.OK}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def note(row: Row) -> str:
    """A cell's description in Markdown: the figures as tables write them, its gates, what was not measured."""
    parts = [f"**{row.model} {name_of(row)}** for {row.target}, recipe `{row.recipe}`"]
    if row.status is not Status.OK:
        return f"{parts[0]}: {row.status}, {one_line(row.reason)}\n"
    known = [column for column in COLUMNS if row.metrics.get(column.metric) is not None]
    parts.append(markdown_table([c.header for c in known], [[c.text(row) for c in known]], texts=0))
    if row.noisy:
        parts.append(f"{NOISY} measured while other programs kept the machine busy")
    if row.measured_on:
        parts.append(f"speed on {row.measured_on}")
    if row.gates:
        parts.append("passes every gate" if passes(row.gates) else f"misses {', '.join(missed(row.gates))}")
    parts += _missing(row)
    return "\n\n".join(parts) + "\n"


def _missing(row: Row) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for name, why in row.reasons.items():
        if COMMON not in name:
            reasons.setdefault(one_line(why), []).append(name)
    yield from (f"no {', '.join(names)}: {why}" for why, names in reasons.items())


def winners(rows: Sequence[Row]) -> str:
    """What to ship, a line for each chosen cell and a table, in Markdown; nothing where nothing was chosen."""
    if not rows:
        return ""
    header = [*AXES.values(), *(column.header for column in COLUMNS)]
    cells = [[*(axis(row, name) for name in AXES), *(column.text(row) for column in COLUMNS)] for row in rows]
    said = "".join(f"Ship {name_of(row)} to {row.target}: {line(row)}.\n\n" for row in rows)
    return said + markdown_table(header, cells, texts=len(AXES))
