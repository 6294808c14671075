"""What a build says to a few of its model's own questions, asked as a chat: for people to read, not a metric."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.answers import Sample
from pipeline.metrics.questions import Question
from pipeline.model.chats import rendered
from pipeline.model.side_files import stop_ids
from pipeline.model.tokenizer import encode, load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FRAME = re.compile(r"^Question:\s*(.*?)\s*Answer:$", re.DOTALL)  # as lm-evaluation-harness asks


@dataclass(frozen=True)
class Prompt:
    """A question as a chat turn, the right answer, and the token ids that the template makes of it."""

    question: str
    answer: str
    ids: list[int]


def chat_prompts(model: Path, questions: Sequence[Question], count: int) -> list[Prompt]:
    """The first `count` questions that can be asked as one turn of a person; none without a chat template.

    `model` is the canonical model folder. A question that holds the chat's own markup is passed over.
    """
    tokenizer = load_tokenizer(model)
    asked: dict[str, str] = {}
    for question in questions:
        start, right = question.starts[question.answer], question.sequences[question.answer]
        text = _text(tokenizer, right[:start])
        if len(asked) < count and text and text == _text(tokenizer, right[:start], markup=True):
            found = FRAME.match(text)
            asked[found[1] if found else text] = _text(tokenizer, right[start:])
    turns = [({"role": "user", "content": text},) for text in asked]
    return [
        Prompt(chat[0]["content"], asked[chat[0]["content"]], encode(tokenizer, text))
        for chat, text in rendered(model, turns)
    ]


def samples(model: Path, prompts: Sequence[Prompt], tokens: Sequence[Sequence[int]]) -> tuple[Sample, ...]:
    """What was generated for each prompt, as text up to the token that ends an answer."""
    tokenizer, stops = load_tokenizer(model), set(stop_ids(model))
    made = []
    for prompt, ids in zip(prompts, tokens, strict=True):
        end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
        made.append(Sample(prompt.question, prompt.answer, _text(tokenizer, ids[:end]), end < len(ids)))
    return tuple(made)


def best(found: Sequence[Sample]) -> Sample | None:
    """The first whose text has the right answer; one that came to its end before one that did not."""
    right = [sample for sample in found if sample.answer in sample.said]
    return next((sample for sample in right if sample.whole), right[0] if right else None)


def _text(tokenizer: Tokenizer, ids: Sequence[int], markup: bool = False) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=not markup)).strip()
