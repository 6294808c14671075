"""evaluate: the quality of a build, once per build, from the artifact itself and against the reference."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline import layout
from pipeline.backends.base import RuntimeRequest
from pipeline.backends.process import ask_runtime
from pipeline.backends.registry import load_backend
from pipeline.files import read_json, write_json
from pipeline.harness.host import threads
from pipeline.harness.outcome import why_skipped, why_unusable
from pipeline.harness.run import progress
from pipeline.metrics.decode import check_decode
from pipeline.metrics.divergence import WindowSums, per_window, score_window, totals
from pipeline.metrics.questions import Question, accuracy, choice_scores, chosen
from pipeline.model.checkpoint import read_output_matrix
from pipeline.types import JSON, Status

Logits = Callable[[NDArray[np.int64]], NDArray[np.float32]]
PROMPT_TOKENS = 32
CORES_PER_SCORER = 4
IN_DEFAULT_MODE = ("perplexity", "kl_nats_mean", "top1_agreement")


def evaluate(key: str, entry: JSON) -> str | None:
    """Write artifacts/evaluations/<key>.json, or the reason for which it was skipped."""
    build, source = layout.build(key), layout.reference(entry["model"])
    skipped = why_skipped(build) or why_unusable(entry["backend"])
    if skipped:
        write_json(layout.evaluation(key), {"status": Status.SKIPPED, "reason": skipped})
        return skipped
    share = entry["evaluate"]
    ids = np.load(source / layout.IDS)[: share["windows"] or None]
    questions = [Question.from_json(raw) for raw in read_json(source / layout.QUESTIONS)]
    questions = questions[: share["questions"] or None]
    summary = read_json(source / layout.SUMMARY)
    report = progress(f"evaluate@{key}")
    backend = load_backend(entry["backend"])
    reference = read_reference(source / layout.HIDDEN, Path(entry["weights"]))
    unmeasured = backend.why_no_default_mode()
    twice = backend.has_default_mode and not unmeasured
    steps = len(ids) * (2 if twice else 1) + len(questions)
    prompts = [window[: min(PROMPT_TOKENS, len(window))].tolist() for window in ids[: summary["decode_prompts"]]]
    tokens = _generated(entry, build, prompts)  # first, and alone: two runtimes would hold the build twice
    with backend.open(build) as session:
        precision = {"accuracy": dict(session.settings)}
        sums = _windows(ids, reference, session.logits, backend.batch, lambda done: report(done, steps))
        scores = []
        for number, question in enumerate(questions, len(ids) + 1):
            scores.append(choice_scores(question, session.logits))
            report(number, steps)
        decode = {**check_decode(prompts, tokens, session.logits), "prompt": prompts[0], "continuation": tokens[0]}
    del session
    users = sums  # what users get, where that is something else
    if twice:
        with backend.open(build, default_mode=True) as session:
            precision["default"] = dict(session.settings)
            first = len(ids) + len(questions)
            users = _windows(ids, reference, session.logits, backend.batch, lambda done: report(first + done, steps))
    default = totals(users)
    metrics = {
        **totals(sums),
        **{f"{name}_default_mode": None if unmeasured else default[name] for name in IN_DEFAULT_MODE},
        "task_accuracy": accuracy(questions, scores) if questions else None,
    }
    reasons = {f"{name}_default_mode": unmeasured for name in IN_DEFAULT_MODE if unmeasured}
    if not questions:
        reasons["task_accuracy"] = "no questions are configured (evaluate.questions)"
    write_json(
        layout.evaluation(key),
        {
            "status": Status.OK,
            "reason": "",
            "metrics": metrics,
            "reasons": reasons,
            "reference": _reference_figures(source, len(ids), questions, summary),
            "windows": per_window(sums),
            "windows_default_mode": None if unmeasured else per_window(users),
            "answered_right": [chosen(q, row) == q.answer for q, row in zip(questions, scores, strict=True)],
            "computed_in": precision,
            "decode": decode,
        },
    )
    return None


@dataclass(frozen=True)
class Reference:
    """What rebuilds the reference's logits: hidden states on the disk, the output matrix [vocab, width], its bias."""

    hidden: Path
    lm_head: NDArray[np.float32]
    bias: NDArray[np.float32] | None


def read_reference(hidden: Path, weights: Path) -> Reference:
    """The output matrix of a checkpoint beside the reference's states."""
    return Reference(hidden, *read_output_matrix(weights))


def _windows(
    ids: NDArray[np.int64],
    reference: Reference,
    logits: Logits,
    batch: int,
    report: Callable[[int], None],
) -> list[WindowSums]:
    """Sums of every window, some scored while the runtime computes the next: logits of two batches in memory, or of one
    window for each scorer.

    The matrix product of a scorer takes one thread: more would contend with the runtime's, which both pay for.
    """
    hidden = np.load(reference.hidden, mmap_mode="r")
    scorers = max(1, threads() // CORES_PER_SCORER)
    waiting: deque[Future[WindowSums]] = deque()
    sums: list[WindowSums] = []
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(scorers) as pool:
        for first in range(0, len(ids), batch):
            windows = ids[first : first + batch]
            computed = zip(windows, logits(windows), hidden[first : first + len(windows)], strict=True)
            while len(waiting) >= max(batch, scorers):
                sums.append(waiting.popleft().result())
            waiting += [pool.submit(score_window, *window, reference.lm_head, reference.bias) for window in computed]
            report(len(sums))
        sums += [scored.result() for scored in waiting]
    report(len(sums))
    return sums


def _reference_figures(source: Path, windows: int, questions: list[Question], summary: JSON) -> JSON:
    """The reference's perplexity and accuracy on the same windows and questions."""
    nll = np.load(source / layout.NLL)[:windows]
    scores = summary["question_scores"][: len(questions)]
    return {
        "perplexity": float(np.exp(nll.mean())),
        "task_accuracy": accuracy(questions, scores) if questions else None,
    }


def _generated(entry: JSON, build: Path, prompts: list[list[int]]) -> list[list[int]]:
    """Greedy continuations of the prompts, in the runtime that users run."""
    request = RuntimeRequest("generate", prompts, entry["evaluate"]["decode_tokens"])
    tokens: list[list[int]] = ask_runtime(entry["backend"], build, request).value["tokens"]
    return tokens
