"""How figures are written for people: units, digits, and the columns that tables share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.matrix.gates import missed, passes
from pipeline.rows import Row, Verdict
from pipeline.types import Status

# what identifies a row, and how it is headed: `shown` is the precision's option, or its name among GGUF's types
AXES = {"model": "model", "shown": "precision", "backend": "backend", "target": "target"}
NOISY = "†"
NONE = "–"
FLOOR = 1e-8  # nats: what is below is the rounding of fp32 itself


@dataclass(frozen=True)
class Column:
    """A metric as a table shows it."""

    metric: str
    header: str
    write: Callable[[float], str]
    speed: bool = False

    def text(self, row: Row) -> str:
        """The figure of a row; a dash where there is none, a dagger where the machine was busy."""
        value = row.metrics.get(self.metric)
        if value is None:
            return NONE
        return self.write(value) + (NOISY if self.speed and row.noisy else "")


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.1f}" if value < 1e9 else f"{value / 1e6:,.0f}"


def _perplexity(value: float) -> str:
    return f"{value:.3f}" if value < 100 else f"{value:.4g}"


def divergence(value: float) -> str:
    """Nats in two digits: 4.1e-3, or 0."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def rate(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


COLUMNS = (
    Column("size_bytes", "size MB", _megabytes),
    Column("bits_per_weight", "bits/w", lambda value: f"{value:.2f}"),
    Column("perplexity_common", "ppl", _perplexity),
    Column("kl_nats_mean_common", "KL nats", divergence),
    Column("kl_nats_mean_se_common", "± KL", divergence),
    Column("kl_nats_p999_common", "KL 99.9%", divergence),
    Column("kl_nats_mean_default_mode_common", "KL default", divergence),
    Column("top1_agreement_common", "top-1 %", lambda value: f"{100 * value:.2f}"),
    Column("rms_delta_p_common", "RMS Δp %", lambda value: f"{100 * value:.2f}"),
    Column("task_accuracy_common", "acc %", lambda value: f"{100 * value:.1f}"),
    Column("tasks_passed_common", "tasks %", lambda value: f"{100 * value:.1f}"),
    Column("decode_tokens_per_s", "tok/s", rate, speed=True),
    Column("ttft_ms_p50", "TTFT ms", rate, speed=True),
)


def one_line(text: object) -> str:
    """A reason on one line: tools' messages come with line breaks."""
    return " ".join(str(text).split())


def status(row: Row) -> str:
    """A row's status; `gate` where the cell is ok and misses one."""
    return str(row.status) if row.status is not Status.OK or passes(row.gates) else "gate"


def axis(row: Row, name: str) -> str:
    """The value of one of AXES."""
    return str(getattr(row, name))


def title(rows: Sequence[Row], suite: str) -> str:
    """`phi-tiny on cpu, apple-silicon (suite default)`."""
    models, targets = (", ".join(dict.fromkeys(axis(row, name) for row in rows)) for name in ("model", "target"))
    named = f"{models} on {targets}" if rows else "nothing planned"
    return f"{named} (suite {suite})" if suite else named


def gate_line(gate: Verdict) -> str:
    """A gate with its bound, the figure and the margin: `max_kl_nats 0.1: 0.0622, +38% of margin`."""
    if gate.value is None or gate.margin is None:
        return f"{gate.gate} {gate.bound:g}: not measured"
    return f"{gate.gate} {gate.bound:g}: {gate.value:.3g}, {gate.margin:+.0%} of margin"


def tally(rows: Sequence[Row]) -> str:
    """`8 cells: 6 ok, 1 skipped, 1 failed`."""
    counts = {status: sum(row.status is status for row in rows) for status in Status}
    named = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{len(rows)} cell{'' if len(rows) == 1 else 's'}: {named or 'nothing planned'}"


@dataclass(frozen=True)
class Trouble:
    """Cells that are not ok, or miss a gate, for one reason; kind is a status or `gate`."""

    kind: str
    reason: str
    cells: tuple[str, ...]


def troubles(rows: Sequence[Row]) -> list[Trouble]:
    """Of the rows that are not ok or miss a gate; a shared reason comes once."""
    shared: dict[tuple[str, str], list[str]] = {}
    for kind in (Status.FAILED, Status.SKIPPED, Status.NOT_RUN):
        for row in rows:
            if row.status is kind:
                shared.setdefault((str(kind), one_line(row.reason)), []).append(row.id)
    for row in rows:
        if status(row) == "gate":
            shared.setdefault(("gate", f"misses {', '.join(missed(row.gates))}"), []).append(row.id)
    return [Trouble(kind, reason, tuple(cells)) for (kind, reason), cells in shared.items()]


def markdown_table(header: Sequence[object], rows: Iterable[Sequence[object]], texts: int | None = None) -> str:
    """A table of Markdown; the columns behind the first `texts` are numbers, set to the right."""
    left = len(header) if texts is None else texts
    rule = ["---" if number < left else "---:" for number in range(len(header))]
    lines = (header, rule, *rows)
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
