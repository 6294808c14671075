"""The report's chapters: what each precision costs and brings, against the same backend in fp32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.reporting.figures import NONE, divergence
from pipeline.types import JSON, Status

TITLES = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16"} | {f"int{bits}": f"INT{bits}" for bits in (8, 6, 5, 4, 3, 2)}
HEADER = ("backend", "precision", "of fp32's bytes", "of its speed", "perplexity", "KL nats", "top-1 %", "accuracy")


def chapters(records: Sequence[JSON]) -> str:
    """One chapter per model and family; a build that several targets share is one row."""
    text = []
    models = list(dict.fromkeys(record["model"] for record in records))
    for model in models:
        rows = builds([record for record in records if record["model"] == model])
        for family, title in TITLES.items():
            own = [row for row in rows if row["precision"] == family]
            if own and len(rows) > len(own):
                named = f"{title} on {model}" if len(models) > 1 else title
                text.append(f"### {named}\n\n{_lead(own, rows)}\n\n{_table(own, rows)}")
    return "## What each precision costs and brings\n\n" + "\n".join(text) if text else ""


def builds(records: Sequence[JSON]) -> list[JSON]:
    """Measured cells, one per (backend, option, bytes); the one whose speed was measured, where there is one."""
    kept: dict[tuple[Any, ...], JSON] = {}
    for record in records:
        metrics = record["metrics"]
        if record["status"] != Status.OK or metrics["kl_nats_mean_common"] is None:
            continue
        key = (record["model"], record["backend"], record["option"], metrics["kl_nats_mean_common"])
        if key not in kept or kept[key]["metrics"]["decode_tokens_per_s"] is None:
            kept[key] = record
    return list(kept.values())


def _base(row: JSON, rows: Sequence[JSON]) -> JSON | None:
    """The same backend in fp32, of the same target where there is one."""
    same = [other for other in rows if other["backend"] == row["backend"] and other["precision"] == "fp32"]
    return next((other for other in same if other["target"] == row["target"]), same[0] if same else None)


def _ratio(row: JSON, rows: Sequence[JSON], metric: str) -> float | None:
    base = _base(row, rows)
    own, its = row["metrics"][metric], base["metrics"][metric] if base else None
    return own / its if own and its else None


def _lead(own: Sequence[JSON], rows: Sequence[JSON]) -> str:
    """`0.16 to 0.29 of fp32's bytes; …` over the backends."""
    parts = []
    for metric, words in (("size_bytes", "of fp32's bytes"), ("decode_tokens_per_s", "of its decode speed")):
        ratios = [ratio for row in own if (ratio := _ratio(row, rows, metric)) is not None]
        if ratios:
            parts.append(f"{_span(ratios, lambda value: f'{value:.2f}')} {words}")
    losses = [row["metrics"]["kl_nats_mean_common"] for row in own]
    parts.append(f"KL {_span(losses, divergence)} nats per token")
    return "; ".join(parts) + "."


def _span(values: Sequence[float], write: Callable[[float], str]) -> str:
    low, high = write(min(values)), write(max(values))
    return low if low == high else f"{low} to {high}"


def _table(own: Sequence[JSON], rows: Sequence[JSON]) -> str:
    lines = [HEADER, tuple("---" if i < 2 else "---:" for i in range(len(HEADER)))]
    for row in own:
        metrics = row["metrics"]
        ratios = [_ratio(row, rows, metric) for metric in ("size_bytes", "decode_tokens_per_s")]
        accuracy = metrics["task_accuracy_common"]
        lines.append(
            (
                row["backend"],
                row["shown"],
                *(NONE if ratio is None else f"{ratio:.2f}" for ratio in ratios),
                f"{metrics['perplexity_common']:.3f}",
                divergence(metrics["kl_nats_mean_common"]),
                f"{100 * metrics['top1_agreement_common']:.2f}",
                NONE if accuracy is None else f"{100 * accuracy:.1f} %",
            )
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
