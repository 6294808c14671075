"""evaluate: the quality of a build, once per build, from the artifact itself and against the reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import layout
from pipeline.backends.base import RuntimeRequest
from pipeline.checkpoint import read_float32, read_headers
from pipeline.files import read_json, write_json
from pipeline.fresh import ask_runtime
from pipeline.metrics.decode import check_decode
from pipeline.metrics.divergence import WindowSums, per_window, score_window, totals
from pipeline.metrics.questions import Question, accuracy, choice_scores
from pipeline.outcome import why_skipped, why_unusable
from pipeline.registry import load_backend
from pipeline.runtime import progress
from pipeline.types import JSON, Status

Logits = Callable[[NDArray[np.int64]], NDArray[np.float32]]
PROMPT_TOKENS = 32
IN_DEFAULT_MODE = ("perplexity", "kl_nats_mean", "top1_agreement")


def evaluate(key: str, entry: JSON) -> str | None:
    """Write artifacts/evaluations/<key>.json, or the reason for which it was skipped."""
    build, source = layout.build(key), layout.reference(entry["model"])
    skipped = why_skipped(build) or why_unusable(entry["backend"])
    if skipped:
        write_json(layout.evaluation(key), {"status": Status.SKIPPED, "reason": skipped})
        return skipped
    ids = np.load(source / layout.IDS)
    questions = [Question.from_json(raw) for raw in read_json(source / layout.QUESTIONS)]
    summary = read_json(source / layout.SUMMARY)
    report = progress(f"evaluate@{key}")
    backend = load_backend(entry["backend"])
    head, hidden = lm_head(Path(entry["weights"])), source / layout.HIDDEN
    steps = len(ids) * (2 if backend.has_default_mode else 1) + len(questions)
    with backend.open(build) as session:
        precision = {"accuracy": dict(session.settings)}
        sums = _windows(ids, hidden, head, session.logits, lambda done: report(done, steps))
        scores = []
        for number, question in enumerate(questions, len(ids) + 1):
            scores.append(choice_scores(question, session.logits))
            report(number, steps)
        decode = _decode(entry, build, ids, summary["decode_prompts"], session.logits)
    users = sums  # what users get, where that is something else
    if backend.has_default_mode:
        with backend.open(build, default_mode=True) as session:
            precision["default"] = dict(session.settings)
            first = len(ids) + len(questions)
            users = _windows(ids, hidden, head, session.logits, lambda done: report(first + done, steps))
    metrics = {
        **totals(sums),
        **{f"{name}_default_mode": value for name, value in totals(users).items() if name in IN_DEFAULT_MODE},
        "task_accuracy": accuracy(questions, scores) if questions else None,
    }
    write_json(
        layout.evaluation(key),
        {
            "status": Status.OK,
            "reason": "",
            "metrics": metrics,
            "reasons": {} if questions else {"task_accuracy": "no questions are configured (evaluate.questions)"},
            "reference": {name: summary[name] for name in ("perplexity", "task_accuracy")},
            "windows": per_window(sums),
            "computed_in": precision,
            "decode": decode,
        },
    )
    return None


def lm_head(weights: Path) -> NDArray[np.float32]:
    """The output matrix [vocab, width] of a checkpoint; the embedding where the two are tied."""
    tensors = read_headers(weights)
    name = "lm_head.weight" if "lm_head.weight" in tensors else "model.embed_tokens.weight"
    return read_float32(tensors[name])


def _windows(
    ids: NDArray[np.int64],
    hidden_file: Path,
    head: NDArray[np.float32],
    logits: Logits,
    report: Callable[[int], None],
) -> list[WindowSums]:
    hidden = np.load(hidden_file, mmap_mode="r")
    sums = []
    for row, window in enumerate(ids):
        sums.append(score_window(window, logits(window[None, :])[0], hidden[row], head))
        report(row + 1)
    return sums


def _decode(entry: JSON, build: Path, ids: NDArray[np.int64], count: int, logits: Logits) -> JSON:
    """Greedy continuations of the first windows' beginnings, in the runtime that users run."""
    prompts = [window[: min(PROMPT_TOKENS, len(window))].tolist() for window in ids[:count]]
    request = RuntimeRequest("generate", prompts, entry["evaluate"]["decode_tokens"])
    tokens = ask_runtime(entry["backend"], build, request).value["tokens"]
    return {**check_decode(prompts, tokens, logits), "prompt": prompts[0], "continuation": tokens[0]}
