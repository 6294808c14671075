"""evaluate: the quality of a build, once per build, from the artifact itself and against the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import layout
from pipeline.answers import Example, Tasks
from pipeline.backends.process import ask_runtime
from pipeline.backends.registry import load_backend
from pipeline.backends.request import RuntimeRequest
from pipeline.entries import Evaluate
from pipeline.errors import QualityError
from pipeline.files import read_json, write_bytes
from pipeline.harness.run import progress
from pipeline.metrics.columns import archive, per_window, tails
from pipeline.metrics.decode import check_decode
from pipeline.metrics.divergence import totals
from pipeline.metrics.examples import examples
from pipeline.metrics.questions import Question, accuracy, chosen, score_questions
from pipeline.metrics.samples import chat_prompts, samples
from pipeline.metrics.scoring import read_reference, score_windows
from pipeline.metrics.shared import OF_TASKS, changed, quality
from pipeline.metrics.tasks import outcome
from pipeline.model.chats import parted
from pipeline.model.tasks import Answers, Task
from pipeline.model.tokenizer import load_tokenizer
from pipeline.records import Evaluation, ReferenceFigures
from pipeline.types import JSON, Family, Status

CHATS, SLOW_CHATS = 8, 4  # questions asked as a chat
IN_DEFAULT_MODE = ("perplexity", "kl_nats_mean", "top1_agreement")
MOST_FP32 = 1e-5  # nats; rounding is below 1e-6
NO_QUESTIONS = "no questions are configured (evaluate.questions)"
OF_QUESTIONS = ("task_accuracy", "task_accuracy_low", "task_accuracy_high", "answer_flips")
NO_TASKS = "no chat tasks are configured (evaluate.tasks)"
NO_CHAT = "graphs of fixed shapes have no runtime that applies a chat template"
ONE_WINDOW = "one window has no spread to tell an error from: raise evaluate.tokens"
OF_WINDOWS = ("kl_nats_mean_se", "top1_agreement_se")


def evaluate(key: str, entry: Evaluate) -> Evaluation:
    """The build's figures in accuracy mode and, where that is something else, as users get it.

    What each scored token contributed is written beside them (`layout.scores`).
    """
    if entry.modality:
        from stages.evaluate.pictures import on_pictures

        return on_pictures(key, entry)
    build, source = layout.build(key), layout.reference(entry.model)
    backend, summary = load_backend(entry.backend), read_json(source / layout.SUMMARY)
    ids = np.load(source / layout.IDS)[: entry.windows or None]
    questions = [Question.from_json(raw) for raw in read_json(source / layout.QUESTIONS)][: entry.questions or None]
    reference = read_reference(source / layout.HIDDEN, Path(entry.weights))
    unmeasured = backend.why_no_default_mode()
    twice = backend.has_default_mode and not unmeasured
    report, steps = progress(f"evaluate@{key}"), len(ids) * (2 if twice else 1) + len(questions)
    prompts = summary["prompts"][: len(ids)]
    chats = chat_prompts(layout.model(entry.model), questions, SLOW_CHATS if entry.questions else CHATS)
    asked = [chat.ids for chat in chats]
    tokens = _generated(entry, build, [*prompts, *asked])  # first, and alone: two runtimes would hold the build twice
    tasks, no_tasks = _tasks(entry, build, source / layout.TASKS)
    with backend.open(build) as session:
        computed_in = {"accuracy": dict(session.settings)}
        accurate = score_windows(ids, reference, session.logits, backend.batch, lambda done: report(done, steps))
        most = backend.batch * ids.shape[1]  # tokens at a time
        choices = score_questions(questions, session.logits, most, lambda done: report(len(ids) + done, steps))
        decode = check_decode(prompts, tokens[: len(prompts)], session.logits)
    del session
    check_exact(entry.family, totals(accurate).kl_nats_mean)
    users = accurate
    if twice:
        with backend.open(build, default_mode=True) as session:
            computed_in["default"] = dict(session.settings)
            first = len(ids) + len(questions)
            users = score_windows(ids, reference, session.logits, backend.batch, lambda n: report(first + n, steps))
    nll = np.load(source / layout.NLL)[: len(ids)]
    figures = _reference_figures(nll, questions, summary)
    sums, percentiles = per_window(accurate, nll), tails(accurate)
    in_default = None if unmeasured else per_window(users, nll)
    answers = _chosen(questions, choices)
    right = _right(questions, answers)
    write_bytes(layout.scores(key), archive({"": accurate, **({"_default_mode": users} if twice else {})}, nll))
    return Evaluation(
        Status.OK,
        "",
        metrics=quality(sums, in_default, percentiles, right, changed(answers, figures.answers), tasks),
        reasons={**_reasons(unmeasured, bool(questions), len(ids)), **no_tasks},
        reference=figures,
        windows=sums,
        windows_default_mode=in_default,
        tails=percentiles,
        answered_right=right,
        answers=answers,
        computed_in=computed_in,
        decode=decode,
        data=summary["data"],
        examples=_examples(entry.model, prompts, summary["continuations"], tokens[: len(prompts)]),
        samples=samples(layout.model(entry.model), chats, tokens[len(prompts) :]),
        tasks=tasks,
    )


def check_exact(family: Family, divergence: float) -> None:
    """A build without quantization is the reference's model. Raises QualityError where it is another one."""
    if family is Family.FP32 and divergence > MOST_FP32:
        raise QualityError(
            f"its fp32 build has KL {divergence:.1e} nats, far above rounding: it computes another model",
            hint="the backend reads something in this checkpoint otherwise than transformers",
        )


def _reasons(unmeasured: str, questions: bool, windows: int) -> dict[str, str]:
    """Why figures are None."""
    return {
        **{f"{name}_default_mode": unmeasured for name in IN_DEFAULT_MODE if unmeasured},
        **(dict.fromkeys(OF_WINDOWS, ONE_WINDOW) if windows == 1 else {}),
        **({} if questions else dict.fromkeys(OF_QUESTIONS, NO_QUESTIONS)),
    }


def _chosen(questions: list[Question], scores: list[list[float]]) -> tuple[int, ...]:
    return tuple(chosen(question, row) for question, row in zip(questions, scores, strict=True))


def _right(questions: list[Question], answers: tuple[int, ...]) -> tuple[bool, ...]:
    return tuple(question.answer == answer for question, answer in zip(questions, answers, strict=True))


def _reference_figures(nll: NDArray[np.float64], questions: list[Question], summary: JSON) -> ReferenceFigures:
    """The reference's perplexity and accuracy on the same windows, NLL [windows, n], and questions."""
    scores = summary["question_scores"][: len(questions)]
    answers = _chosen(questions, scores)
    return ReferenceFigures(
        perplexity=float(np.exp(nll.mean())),
        task_accuracy=accuracy(questions, scores) if questions else None,
        nll=tuple(nll.sum(axis=1).tolist()),
        answered_right=_right(questions, answers),
        answers=answers,
    )


def _examples(
    model: str, prompts: list[list[int]], reference: list[list[int]], own: list[list[int]]
) -> tuple[Example, ...]:
    """Prompts that the build goes on with otherwise."""
    tokenizer = load_tokenizer(layout.model(model))

    def text(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=False))

    return examples(prompts, reference[: len(prompts)], own, text)


def _tasks(entry: Evaluate, build: Path, path: Path) -> tuple[Tasks | None, dict[str, str]]:
    """The chat tasks' outcome in the runtime that users run, and why figures of it are None.

    Raises QualityError where the build's chat template renders another text than the checkpoint's.
    """
    if not path.is_file():
        return None, dict.fromkeys(OF_TASKS, NO_TASKS)
    held = read_json(path)
    tasks = [Task.from_json(raw) for raw in held["tasks"]][: entry.tasks or None]
    chats = [task.messages for task in tasks]
    request = RuntimeRequest("chat", [], held["tokens"], chats=chats, context=held["context"])
    found = ask_runtime(entry.backend, build, request).value
    if not found:
        return None, dict.fromkeys(OF_TASKS, NO_CHAT)
    tokenizer = load_tokenizer(layout.model(entry.model))
    for number, (made, right) in enumerate(zip(found["chats"], held["texts"], strict=False), 1):
        if made != right:
            said = parted(tokenizer, made, right)
            raise QualityError(f"its chat template renders task {number} otherwise than the checkpoint's: {said}")
    return outcome(tasks, Answers.from_json(found), Answers.from_json(held["answers"]), held["data"]), {}


def _generated(entry: Evaluate, build: Path, prompts: list[list[int]]) -> list[list[int]]:
    """Greedy continuations of the prompts, in the runtime that users run."""
    request = RuntimeRequest("generate", prompts, entry.decode_tokens)
    tokens: list[list[int]] = ask_runtime(entry.backend, build, request).value["tokens"]
    return tokens
