"""The report's chapters: what each precision costs and brings, against the same backend in fp32."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.reporting.figures import NONE, divergence, markdown_table
from pipeline.rows import Row
from pipeline.types import Status

TITLES = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16"} | {f"int{bits}": f"INT{bits}" for bits in (8, 6, 5, 4, 3, 2)}
AXES = ("backend", "target", "precision")
HEADER = (*AXES, "of fp32's bytes", "of its speed", "perplexity", "KL nats", "top-1 %", "accuracy")


def chapters(rows: Sequence[Row]) -> str:
    """One chapter per model and family; a build that several targets compare on the same tokens is one row."""
    text = []
    models = list(dict.fromkeys(row.model for row in rows))
    for model in models:
        kept = builds([row for row in rows if row.model == model])
        for family, title in TITLES.items():
            own = [row for row in kept if row.precision == family]
            if own and len(kept) > len(own):
                named = f"{title} on {model}" if len(models) > 1 else title
                text.append(f"### {named}\n\n{_lead(own, kept)}\n\n{_table(own, kept)}")
    return "\n".join(text)


def builds(rows: Sequence[Row]) -> list[Row]:
    """Measured cells, one per backend, option, bytes and tokens compared: the one whose speed was measured, if any."""
    kept: dict[tuple[object, ...], Row] = {}
    for row in rows:
        if row.status is not Status.OK or row.metrics.kl_nats_mean_common is None:
            continue
        key = (row.model, row.backend, row.option, row.metrics.kl_nats_mean_common)
        if key not in kept or kept[key].metrics.decode_tokens_per_s is None:
            kept[key] = row
    return list(kept.values())


def _base(row: Row, rows: Sequence[Row]) -> Row | None:
    """The same backend in fp32, of the same target where there is one."""
    same = [other for other in rows if other.backend == row.backend and other.precision == "fp32"]
    return next((other for other in same if other.target == row.target), same[0] if same else None)


def _ratio(row: Row, rows: Sequence[Row], metric: str) -> float | None:
    base = _base(row, rows)
    own, its = row.metrics.get(metric), base.metrics.get(metric) if base else None
    return own / its if own and its else None


def _lead(own: Sequence[Row], rows: Sequence[Row]) -> str:
    """`0.16 to 0.29 of fp32's bytes; …` over the backends."""
    parts = []
    for metric, words in (("size_bytes", "of fp32's bytes"), ("decode_tokens_per_s", "of its decode speed")):
        ratios = [ratio for row in own if (ratio := _ratio(row, rows, metric)) is not None]
        if ratios:
            parts.append(f"{_span(ratios, lambda value: f'{value:.2f}')} {words}")
    losses = [loss for row in own if (loss := row.metrics.kl_nats_mean_common) is not None]
    parts.append(f"KL {_span(losses, divergence)} nats per token")
    return "; ".join(parts) + "."


def _span(values: Sequence[float], write: Callable[[float], str]) -> str:
    low, high = write(min(values)), write(max(values))
    return low if low == high else f"{low} to {high}"


def _table(own: Sequence[Row], rows: Sequence[Row]) -> str:
    lines = []
    for row in own:
        ratios = [_ratio(row, rows, metric) for metric in ("size_bytes", "decode_tokens_per_s")]
        metrics = row.metrics
        written = (
            *(_written(ratio, "{:.2f}") for ratio in ratios),
            _written(metrics.perplexity_common, "{:.3f}"),
            divergence(metrics.kl_nats_mean_common or 0.0),
            _written(metrics.top1_agreement_common, "{:.2f}", 100),
            _written(metrics.task_accuracy_common, "{:.1f} %", 100),
        )
        lines.append((row.backend, row.target, row.shown, *written))
    return markdown_table(HEADER, lines, texts=len(AXES))


def _written(value: float | None, form: str, times: int = 1) -> str:
    return NONE if value is None else form.format(times * value)
