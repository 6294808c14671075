"""An evaluation's figures on its first windows and questions: those that all cells of a target have.

A slow backend is evaluated on fewer windows. Every evaluation keeps its sums per window, so that the others' figures on
the same ones are added up; nothing is computed again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace

from pipeline.answers import Tasks
from pipeline.metrics.uncertainty import standard_error, wilson
from pipeline.records import Evaluation, Quality, ReferenceFigures, Tails, Windows
from pipeline.rows import Shared

OF_TASKS = ("tasks_passed", "tasks_passed_low", "tasks_passed_high", "task_flips", "tasks_never_ended")


def quality_on(evaluation: Evaluation, windows: int, questions: int, tasks: int = 0) -> Quality:
    """The quality on the first `windows`, `questions` and `tasks`; 0 is all. Figures that are not finite are None."""
    users = evaluation.windows_default_mode
    return quality(
        _first(evaluation.windows, windows),
        _first(users, windows) if users else None,
        evaluation.tails,
        evaluation.answered_right[: questions or None],
        _flips(evaluation, questions),
        _first_tasks(evaluation.tasks, tasks),
    )


def quality(
    sums: Windows,
    users: Windows | None,
    tails: Tails,
    right: Sequence[bool],
    answer_flips: float | None,
    tasks: Tasks | None = None,
) -> Quality:
    """Figures of sums per window, in accuracy mode and as users get it, of answers that were right, and of tasks.

    flips: the share of positions where another token comes first than the reference's, 1 - top-1 agreement.
    rms_delta_p: sqrt(mean Δp²), Δp as in `columns.delta_p` (llama.cpp's perplexity tool: RMS Δp).
    """
    tokens, last = sum(sums.tokens), len(sums.tokens) - 1
    top1 = _mean(sums.top1, sums)
    squares = _mean(sums.delta_p_squares, sums)
    low, high = wilson(sum(right), len(right)) if right else (None, None)
    return Quality(
        perplexity=_perplexity(sums.nll, sums),
        kl_nats_mean=_divergence(sums),
        kl_nats_mean_se=_error(sums.kl, sums),
        kl_nats_p50=tails.p50[last] if tokens else None,
        kl_nats_p90=tails.p90[last] if tokens else None,
        kl_nats_p99=tails.p99[last] if tokens else None,
        kl_nats_p999=tails.p999[last] if tokens else None,
        kl_nats_max=max(sums.kl_max, default=None),
        top1_agreement=top1,
        top1_agreement_se=_error(sums.top1, sums),
        flips=None if top1 is None else 1 - top1,
        rms_delta_p=None if squares is None else math.sqrt(squares),
        evaluated_tokens=tokens or None,
        perplexity_default_mode=_perplexity(users.nll, users) if users else None,
        kl_nats_mean_default_mode=_divergence(users) if users else None,
        top1_agreement_default_mode=_mean(users.top1, users) if users else None,
        task_accuracy=sum(right) / len(right) if right else None,
        task_accuracy_low=low,
        task_accuracy_high=high,
        answer_flips=answer_flips,
        **_of_tasks(tasks),
    )


def _of_tasks(tasks: Tasks | None) -> dict[str, float | None]:
    """The share that passes, with its interval, flips between passed and not, and answers without an end."""
    if tasks is None or not tasks.passed:
        return dict.fromkeys(OF_TASKS)
    count, its = len(tasks.passed), tasks.reference_passed
    low, high = wilson(sum(tasks.passed), count)
    return {
        "tasks_passed": sum(tasks.passed) / count,
        "tasks_passed_low": low,
        "tasks_passed_high": high,
        "task_flips": sum(a != b for a, b in zip(tasks.passed, its, strict=True)) / count,
        "tasks_never_ended": tasks.ended.count(False) / count,
    }


def _first_tasks(tasks: Tasks | None, count: int) -> Tasks | None:
    if tasks is None:
        return None
    first = slice(count or None)
    return replace(
        tasks,
        passed=tasks.passed[first],
        ended=tasks.ended[first],
        reference_passed=tasks.reference_passed[first],
    )


def shared_sums(evaluation: Evaluation, windows: int) -> Shared | None:
    """What cells are compared by, pair by pair: the first `windows`; 0 is all. None where a sum is not finite."""
    sums = _first(evaluation.windows, windows)
    return Shared(sums.tokens, sums.kl) if all(map(math.isfinite, sums.kl)) else None


def changed(answers: Sequence[int], reference: Sequence[int]) -> float | None:
    """The share of questions whose chosen answer is another than the reference's; None without questions.

    The flips of Dutta et al. 2024 (arXiv 2407.09141) count changes between right and wrong; from one wrong answer to
    another is a change here as well.
    """
    if not answers:
        return None
    return sum(own != its for own, its in zip(answers, reference, strict=True)) / len(answers)


def reference_on(evaluation: Evaluation, windows: int, questions: int, tasks: int = 0) -> ReferenceFigures:
    """The reference's figures on the same."""
    reference, right = evaluation.reference, evaluation.reference.answered_right[: questions or None]
    nll = reference.nll[: windows or None]
    held = _first_tasks(evaluation.tasks, tasks)
    passed = held.reference_passed if held else None
    return replace(
        reference,
        perplexity=_perplexity(nll, _first(evaluation.windows, windows)) or reference.perplexity,
        task_accuracy=sum(right) / len(right) if right else None,
        nll=nll,
        answered_right=right,
        answers=reference.answers[: questions or None],
        tasks_passed=sum(passed) / len(passed) if passed else None,
    )


def _flips(evaluation: Evaluation, questions: int) -> float | None:
    return changed(evaluation.answers[: questions or None], evaluation.reference.answers[: questions or None])


def _first(sums: Windows, windows: int) -> Windows:
    return Windows(**{field.name: getattr(sums, field.name)[: windows or None] for field in fields(Windows)})


def _perplexity(nll: Sequence[float], sums: Windows) -> float | None:
    """exp of the mean NLL: of sums per window, over the windows' tokens."""
    tokens = sum(sums.tokens)
    mean = sum(nll) / tokens if tokens else math.inf
    return _finite(math.exp(mean)) if mean < 700 else None


def _divergence(sums: Windows) -> float | None:
    mean = _mean(sums.kl, sums)
    # KL is never negative; what is left of rounding below zero is zero
    return None if mean is None else max(0.0, mean)


def _mean(column: Sequence[float], sums: Windows) -> float | None:
    tokens = sum(sums.tokens)
    return _finite(sum(column) / tokens) if tokens else None


def _error(column: Sequence[float], sums: Windows) -> float | None:
    error = standard_error(column, sums.tokens)
    return None if error is None else _finite(error)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
