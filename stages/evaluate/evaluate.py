"""evaluate: the quality of a build, once per build, from the artifact itself and against the reference."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import layout
from pipeline.backends.process import ask_runtime
from pipeline.backends.registry import load_backend
from pipeline.backends.request import RuntimeRequest
from pipeline.entries import Evaluate
from pipeline.errors import QualityError
from pipeline.files import read_json
from pipeline.harness.run import progress
from pipeline.metrics.decode import check_decode
from pipeline.metrics.divergence import WindowSums, per_window, totals
from pipeline.metrics.questions import Question, accuracy, choice_scores, chosen
from pipeline.metrics.scoring import read_reference, score_windows
from pipeline.records import Evaluation, Quality, ReferenceFigures
from pipeline.types import JSON, Family, Status

PROMPT_TOKENS = 32
IN_DEFAULT_MODE = ("perplexity", "kl_nats_mean", "top1_agreement")
MOST_FP32 = 1e-5  # nats; rounding is below 1e-6
NO_QUESTIONS = "no questions are configured (evaluate.questions)"


def evaluate(key: str, entry: Evaluate) -> Evaluation:
    """The build's figures in accuracy mode and, where that is something else, as users get it."""
    build, source = layout.build(key), layout.reference(entry.model)
    backend, summary = load_backend(entry.backend), read_json(source / layout.SUMMARY)
    ids = np.load(source / layout.IDS)[: entry.windows or None]
    questions = [Question.from_json(raw) for raw in read_json(source / layout.QUESTIONS)][: entry.questions or None]
    reference = read_reference(source / layout.HIDDEN, Path(entry.weights))
    unmeasured = backend.why_no_default_mode()
    twice = backend.has_default_mode and not unmeasured
    report, steps = progress(f"evaluate@{key}"), len(ids) * (2 if twice else 1) + len(questions)
    prompts = [window[: min(PROMPT_TOKENS, len(window))].tolist() for window in ids[: summary["decode_prompts"]]]
    tokens = _generated(entry, build, prompts)  # first, and alone: two runtimes would hold the build twice
    with backend.open(build) as session:
        computed_in = {"accuracy": dict(session.settings)}
        sums = score_windows(ids, reference, session.logits, backend.batch, lambda done: report(done, steps))
        scores = []
        for number, question in enumerate(questions, len(ids) + 1):
            scores.append(choice_scores(question, session.logits))
            report(number, steps)
        decode = check_decode(prompts, tokens, session.logits)
    del session
    _check_exact(entry.family, totals(sums).kl_nats_mean)
    users = sums
    if twice:
        with backend.open(build, default_mode=True) as session:
            computed_in["default"] = dict(session.settings)
            first = len(ids) + len(questions)
            users = score_windows(ids, reference, session.logits, backend.batch, lambda n: report(first + n, steps))
    reasons = {f"{name}_default_mode": unmeasured for name in IN_DEFAULT_MODE if unmeasured}
    return Evaluation(
        Status.OK,
        "",
        metrics=_quality(sums, None if unmeasured else users, accuracy(questions, scores) if questions else None),
        reasons=reasons if questions else {**reasons, "task_accuracy": NO_QUESTIONS},
        reference=_reference_figures(source, ids, questions, summary),
        windows=per_window(sums),
        windows_default_mode=None if unmeasured else per_window(users),
        answered_right=tuple(chosen(q, row) == q.answer for q, row in zip(questions, scores, strict=True)),
        computed_in=computed_in,
        decode=decode,
        data=summary["data"],
    )


def _check_exact(family: Family, divergence: float) -> None:
    """A build without quantization is the reference's model. Raises QualityError where it is another one."""
    if family is Family.FP32 and divergence > MOST_FP32:
        raise QualityError(
            f"its fp32 build has KL {divergence:.1e} nats, far above rounding: it computes another model",
            hint="the backend reads something in this checkpoint otherwise than transformers",
        )


def _quality(sums: list[WindowSums], users: list[WindowSums] | None, answered: float | None) -> Quality:
    own = totals(sums)
    default = None if users is None else totals(users)
    return Quality(
        **asdict(own),
        perplexity_default_mode=default.perplexity if default else None,
        kl_nats_mean_default_mode=default.kl_nats_mean if default else None,
        top1_agreement_default_mode=default.top1_agreement if default else None,
        task_accuracy=answered,
    )


def _reference_figures(
    source: Path, ids: NDArray[np.int64], questions: list[Question], summary: JSON
) -> ReferenceFigures:
    """The reference's perplexity and accuracy on the same windows and questions."""
    nll = np.load(source / layout.NLL)[: len(ids)]
    scores = summary["question_scores"][: len(questions)]
    right = tuple(chosen(q, row) == q.answer for q, row in zip(questions, scores, strict=True))
    return ReferenceFigures(
        perplexity=float(np.exp(nll.mean())),
        task_accuracy=accuracy(questions, scores) if questions else None,
        nll=tuple(nll.sum(axis=1).tolist()),
        answered_right=right,
    )


def _generated(entry: Evaluate, build: Path, prompts: list[list[int]]) -> list[list[int]]:
    """Greedy continuations of the prompts, in the runtime that users run."""
    request = RuntimeRequest("generate", prompts, entry.decode_tokens)
    tokens: list[list[int]] = ask_runtime(entry.backend, build, request).value["tokens"]
    return tokens
