"""Multiple choice by likelihood, as lm-evaluation-harness scores it.

Each choice is scored by Σ ln q(token) of its tokens after the question; the highest score divided by the
choice's length in characters wins (lm-eval's `acc_norm`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.metrics.divergence import log_softmax
from pipeline.model.texts import read_rows
from pipeline.model.tokenizer import encode
from pipeline.types import JSON

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Question:
    """Token ids of question + choice, where each choice starts, its length in characters, the right index."""

    sequences: tuple[tuple[int, ...], ...]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    answer: int

    def to_json(self) -> JSON:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: JSON) -> Question:
        return cls(tuple(map(tuple, raw["sequences"])), tuple(raw["starts"]), tuple(raw["lengths"]), raw["answer"])


def read_questions(path: Path, tokenizer: Tokenizer, limit: int = 0, longest: int = 0) -> list[Question]:
    """Questions of a JSONL file with `question`, `choices` and `answer` (an index); `limit` 0 is all.

    Raises DataError naming file and line, also for one of more tokens than `longest`, the model's context.
    """
    questions: list[Question] = []
    for row, where in read_rows(path):
        if limit and len(questions) == limit:
            break
        question = _parse(row, tokenizer, where)
        length = max(map(len, question.sequences))
        if longest and length > longest:
            raise DataError(f"a question of {length} tokens, the model's context is {longest}", where=where)
        questions.append(question)
    if not questions:
        raise DataError(
            "there are no questions in it",
            where=str(path),
            hint="leave evaluate.questions empty to do without",
        )
    return questions


def _parse(row: JSON, tokenizer: Tokenizer, where: str) -> Question:
    lacking = [name for name in ("question", "choices", "answer") if name not in row]
    if lacking:
        raise DataError(f"no JSON object with `question`, `choices` and `answer`: no `{lacking[0]}`", where=where)
    prompt, choices, answer = row["question"], row["choices"], row["answer"]
    texts = [prompt, *choices] if isinstance(choices, list) else [None]
    if not all(isinstance(text, str) and text.strip() for text in texts) or len(texts) < 3:
        raise DataError("`question` is a text, `choices` a list of two or more texts", where=where)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise DataError(f"`answer` {answer!r} is no index into {len(choices)} choices", where=where)
    pairs = [_encode_pair(tokenizer, prompt, choice) for choice in choices]
    if any(start == 0 or len(sequence) <= start for sequence, start in pairs):
        raise DataError("a choice adds no token to the question", where=where)
    sequences, starts = zip(*pairs, strict=True)
    return Question(sequences, starts, tuple(len(choice.strip()) for choice in choices), answer)


def _encode_pair(tokenizer: Tokenizer, prompt: str, choice: str) -> tuple[tuple[int, ...], int]:
    """Ids of question and choice, and where scoring starts: lm-evaluation-harness' `_encode_pair`.

    Spaces that end the question belong to the choice. Where a token reaches over the boundary, it is scored.
    """
    stripped = prompt.rstrip()
    whole = encode(tokenizer, prompt + choice)
    alone = encode(tokenizer, stripped)
    same = next((i for i, (one, other) in enumerate(zip(alone, whole, strict=False)) if one != other), None)
    return tuple(whole), min(len(alone), len(whole)) if same is None else same


@dataclass(frozen=True)
class Batch:
    """Choices of one length: token ids int64 [batch, length]; of each its question, its number and where it starts."""

    ids: NDArray[np.int64]
    places: tuple[tuple[int, int, int], ...]


def batches(questions: Sequence[Question], tokens: int) -> list[Batch]:
    """All choices, those of one length together, at most `tokens` at a time. Nothing is padded."""
    lengths: dict[int, list[tuple[int, int]]] = {}
    for number, question in enumerate(questions):
        for choice, sequence in enumerate(question.sequences):
            lengths.setdefault(len(sequence), []).append((number, choice))
    made = []
    for length, places in sorted(lengths.items()):
        most = max(1, tokens // length)
        for first in range(0, len(places), most):
            some = places[first : first + most]
            ids = np.asarray([questions[number].sequences[choice] for number, choice in some], np.int64)
            made.append(Batch(ids, tuple((n, choice, questions[n].starts[choice]) for n, choice in some)))
    return made


def score_questions(
    questions: Sequence[Question],
    logits: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    tokens: int,
    report: Callable[[int], None],
) -> list[list[float]]:
    """Σ ln q of each choice's tokens, per question. `logits` maps ids [batch, n] to logits [batch, n, vocab].

    It gets at most `tokens` at a time, in the order of `batches`; `report` gets how many questions that are as many.
    """
    scores = [[0.0] * len(question.sequences) for question in questions]
    done, total = 0, sum(len(question.sequences) for question in questions)
    for batch in batches(questions, tokens):
        for ids, rows, (number, choice, start) in zip(batch.ids, logits(batch.ids), batch.places, strict=True):
            scored = log_softmax(rows[start - 1 : -1])
            scores[number][choice] = float(scored[np.arange(len(ids) - start), ids[start:]].sum())
        done += len(batch.places)
        report(done * len(questions) // total)
    return scores


def chosen(question: Question, scores: Sequence[float]) -> int:
    """The index of the choice with the highest score per character."""
    return int(np.argmax([score / length for score, length in zip(scores, question.lengths, strict=True)]))


def accuracy(questions: Sequence[Question], scores: Sequence[Sequence[float]]) -> float:
    """The share of questions whose chosen answer is the right one."""
    right = sum(chosen(question, row) == question.answer for question, row in zip(questions, scores, strict=True))
    return right / len(questions)
