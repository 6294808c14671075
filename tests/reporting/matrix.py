"""A project folder with a planned matrix and the files that its stages would leave behind."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.records import Windows
from tests.support.plans import add_cell, empty_plan, evaluation, measured, packaged

SPEED = {
    "load_s": 0.21,
    "ttft_ms_p50": 18.5,
    "ttft_ms_p95": 21.0,
    "prefill_tokens_per_s": 6900.0,
    "decode_tokens_per_s": 410.0,
    "peak_rss_bytes": 91_000_000,
}
PRECISIONS = {
    "fp32": ("fp32", 1.2e-9, 16_100_000, 32.0),
    "fp16": ("fp16", 4.8e-7, 8_200_000, 16.0),
    "int8": ("int8", 1.5e-5, 5_100_000, 9.0),
    "int4": ("int4", 2.8e-4, 3_300_000, 5.2),
}
TAILS = {"p50": 0.2, "p90": 2, "p99": 10, "p999": 40, "max": 100}


TASKS = {
    "passed": [True, True, False, False],
    "ended": [True] * 4,
    "reference_passed": [True, True, True, False],
    "differences": [
        {
            "asked": "How old is <b>Mobert</b>?",
            "check": 'contains "73"',
            "reference": "Mobert is 73.",
            "build": "Mobert is | 37.",
            "reference_passed": True,
            "build_passed": False,
        }
    ],
    "data": {"data/tasks.jsonl": "1" * 64},
}


def sums(figures: dict[str, Any], windows: int = 2) -> dict[str, Any]:
    """The sums per window, and per question, that give the figures."""
    if not all(isinstance(figures[name], (int, float)) for name in ("perplexity", "kl_nats_mean", "top1_agreement")):
        none: dict[str, Any] = {field.name: [] for field in fields(Windows)}
        return {"windows": none, "windows_default_mode": none}
    tokens = figures["evaluated_tokens"] // windows
    columns = {
        "tokens": [tokens] * windows,
        "nll": [tokens * math.log(figures["perplexity"])] * windows,
        "kl": [tokens * figures["kl_nats_mean"]] * windows,
        "top1": [round(tokens * figures["top1_agreement"])] * windows,
        "delta_p_squares": [tokens * figures["rms_delta_p"] ** 2] * windows,
        "kl_max": [figures["kl_nats_max"]] * windows,
    }
    right = [i < 4 * figures["task_accuracy"] for i in range(4)] if figures["task_accuracy"] else []
    return {
        "windows": columns,
        "windows_default_mode": columns,
        "tails": {name: [figures[f"kl_nats_{name}"]] * windows for name in ("p50", "p90", "p99", "p999")},
        "answered_right": right,
        "answers": [int(not is_right) for is_right in right],
        "tasks": TASKS,
        "reference": {
            "perplexity": 6.0,
            "task_accuracy": None,
            "nll": [],
            "answered_right": [True] * len(right),
            "answers": [0] * len(right),
        },
    }


class Matrix:
    """Writes what stages write; `plan` grows with every cell."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plan = empty_plan()

    def add(self, precision: str, model: str = "phi-tiny", backend: str = "onnxruntime", target: str = "cpu") -> str:
        """Plan a cell; nothing has run yet."""
        return add_cell(self.plan, model, precision, backend, target)

    def gate(self, cell: str, **gates: float) -> None:
        self.plan.cells[cell] = replace(self.plan.cells[cell], gates=gates)

    def share(self, cell: str, windows: int, questions: int, tasks: int = 0) -> None:
        """As planning does where another cell of the target is evaluated on no more."""
        entry = self.plan.cells[cell]
        package = replace(entry.package, windows=windows, questions=questions, tasks=tasks)
        self.plan.cells[cell] = replace(entry, package=package)

    def run(self, cell: str, **changes: Any) -> None:
        """All stages of a cell end well; `changes` replace metrics."""
        precision = self.plan.cells[cell].package.precision
        _, kl, size, bits = PRECISIONS.get(precision, PRECISIONS["int4"])
        figures = {
            "perplexity": 6.4 * (1 + kl),
            "kl_nats_mean": kl,
            "kl_nats_mean_se": kl / 50,
            **{f"kl_nats_{name}": times * kl for name, times in TAILS.items()},
            "top1_agreement": 1 - 60 * kl,
            "top1_agreement_se": kl,
            "flips": 60 * kl,
            "rms_delta_p": 3 * kl,
            "perplexity_default_mode": 6.4 * (1 + kl),
            "kl_nats_mean_default_mode": kl,
            "top1_agreement_default_mode": 1 - 60 * kl,
            "task_accuracy": 0.75,
            "task_accuracy_low": 0.3,
            "task_accuracy_high": 0.95,
            "answer_flips": 0.25,
            "tasks_passed": 0.5,
            "tasks_passed_low": 0.15,
            "tasks_passed_high": 0.85,
            "task_flips": 0.25,
            "tasks_never_ended": 0.0,
            "evaluated_tokens": 20440,
            "size_bytes": size,
            "bits_per_weight": bits,
            **SPEED,
            **changes,
        }
        own = {name: figures[name] for name in figures if name not in (*SPEED, "size_bytes", "bits_per_weight")}
        self.evaluation(cell, metrics=own, **sums(figures))
        self.packaged(cell, size_bytes=figures["size_bytes"], bits_per_weight=figures["bits_per_weight"])
        self.benchmark(cell, metrics={name: figures[name] for name in SPEED})

    def skip(self, cell: str, reason: str) -> None:
        """Evaluate, package and benchmark say that they were skipped."""
        build = self.plan.cells[cell].build
        for path in (layout.evaluation(build), layout.package_record(cell), layout.benchmark(cell)):
            self.write(path, {"status": "skipped", "reason": reason})

    def evaluation(self, cell: str, **content: Any) -> None:
        self.write(layout.evaluation(self.plan.cells[cell].build), evaluation(**content))

    def packaged(self, cell: str, **content: Any) -> None:
        self.write(layout.package_record(cell), packaged(cell, **content))

    def benchmark(self, cell: str, **content: Any) -> None:
        self.write(layout.benchmark(cell), {"status": "ok", "reason": "", **measured(**content)})

    def no_device(self, cell: str, reason: str) -> None:
        """The benchmark was skipped."""
        self.write(layout.benchmark(cell), {"status": "skipped", "reason": reason})

    def record(self, stage: str, key: str, status: str, reason: str = "") -> None:
        ended = {"started": "", "seconds": 1.0, "peak_rss_bytes": None, "host": "", "python": ""}
        self.write(layout.record(stage, key), {"status": status, "reason": reason, "stage": stage, "key": key, **ended})

    def write(self, path: Path, content: Any) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(json.dumps(content))
