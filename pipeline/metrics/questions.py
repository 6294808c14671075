"""Multiple choice by likelihood, as lm-evaluation-harness scores it.

Each choice is scored by Σ ln q(token) of its tokens after the question; the highest score divided by the
choice's length in characters wins (lm-eval's `acc_norm`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.metrics.divergence import log_softmax
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


def read_questions(path: Path, tokenizer: Tokenizer, limit: int = 0) -> list[Question]:
    """Questions of a JSONL file with `question`, `choices` and `answer` (an index). Raises DataError."""
    questions: list[Question] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError("there is no such file", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise DataError(f"no UTF-8 text: {error.reason} at byte {error.start}", where=str(path)) from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if limit and len(questions) == limit:
            break
        questions.append(_parse(line, tokenizer, f"{path}:{number}"))
    if not questions:
        raise DataError(
            "there are no questions in it",
            where=str(path),
            hint="leave evaluate.questions empty to do without",
        )
    return questions


def _parse(line: str, tokenizer: Tokenizer, where: str) -> Question:
    try:
        raw = json.loads(line)
        prompt, choices, answer = raw["question"], raw["choices"], raw["answer"]
    except (ValueError, KeyError, TypeError):
        raise DataError("no JSON object with `question`, `choices` and `answer`", where=where) from None
    texts = [prompt, *choices] if isinstance(choices, list) else [None]
    if not all(isinstance(text, str) and text.strip() for text in texts) or len(texts) < 3:
        raise DataError("`question` is a text, `choices` a list of two or more texts", where=where)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise DataError(f"`answer` {answer!r} is no index into {len(choices)} choices", where=where)
    start = len(tokenizer.encode(prompt, add_special_tokens=False).ids)
    sequences = [tuple(tokenizer.encode(prompt + choice, add_special_tokens=False).ids) for choice in choices]
    if any(len(sequence) <= start for sequence in sequences) or start == 0:
        raise DataError("a choice adds no token to the question", where=where)
    return Question(tuple(sequences), (start,) * len(choices), tuple(len(choice.strip()) for choice in choices), answer)


def choice_scores(question: Question, logits: Callable[[NDArray[np.int64]], NDArray[np.float32]]) -> list[float]:
    """Σ ln q of each choice's tokens. `logits` maps ids [1, n] to logits [1, n, vocab]."""
    scores = []
    for sequence, start in zip(question.sequences, question.starts, strict=True):
        ids = np.asarray(sequence, dtype=np.int64)
        rows = log_softmax(logits(ids[None, :])[0, start - 1 : -1])
        scores.append(float(rows[np.arange(len(ids) - start), ids[start:]].sum()))
    return scores


def chosen(question: Question, scores: Sequence[float]) -> int:
    """The index of the choice with the highest score per character."""
    return int(np.argmax([score / length for score, length in zip(scores, question.lengths, strict=True)]))


def accuracy(questions: Sequence[Question], scores: Sequence[Sequence[float]]) -> float:
    """The share of questions whose chosen answer is the right one."""
    right = sum(chosen(question, row) == question.answer for question, row in zip(questions, scores, strict=True))
    return right / len(questions)
