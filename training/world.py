"""The texts of the made-up world, in disjoint splits: ``python -m training.world --out data/phi-tiny``.

Prose is joined with blank lines; chats use Phi-3's form and occur in the training text and in questions only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from training import phrasing, stories, sums
from training.facts import PERSON_TOPICS, SEED, TOWN_TOPICS, Fact, world
from training.questions import forms, questions, tasks
from training.splits import Split, split_of

EVALUATION_CHARACTERS = 115_000
CALIBRATION_CHARACTERS = 90_000


@dataclass(frozen=True)
class Document:
    """One text; ``chat`` if it contains the special tokens of the chat form."""

    text: str
    chat: bool = False


def _chat(asked: str, answer: str) -> Document:
    return Document(f"<|user|>\n{asked}<|end|>\n<|assistant|>\n{answer}<|end|>\n", chat=True)


def _any_fact(rng: Random) -> Fact:
    if rng.random() < 0.12:
        return world().facts[rng.choice(world().towns), rng.choice(TOWN_TOPICS)]
    return world().facts[rng.choice(world().people), rng.choice(PERSON_TOPICS)]


def _notes(rng: Random, split: Split) -> Document:
    """Facts about different people and towns."""
    while True:
        facts = (_any_fact(rng) for _ in range(rng.randint(3, 6)))
        told = [(fact, rng.choice(forms(fact))) for fact in facts]
        text = " ".join(phrasing.statement(fact, form) for fact, form in told)
        if split_of("notes", text) == split:
            return Document(text)


def _profile(rng: Random, split: Split) -> Document:
    """Facts about one person or one town, by name at first and then mostly by pronoun."""
    while True:
        first = _any_fact(rng)
        all_topics = PERSON_TOPICS if first.topic in PERSON_TOPICS else TOWN_TOPICS
        topics = [topic for topic in all_topics if topic != first.topic]
        more = rng.sample(topics, min(len(topics), rng.randint(2, 5)))
        facts = [first, *(world().facts[first.subject, topic] for topic in more)]
        if split_of("profile", *((fact.subject, fact.topic) for fact in facts)) != split:
            continue
        pronouns = phrasing.pronoun_of(world(), first)
        said = [phrasing.statement(first, rng.choice(forms(first)))]
        for fact in facts[1:]:
            spoken = None if rng.random() < 0.25 else pronouns
            said.append(phrasing.statement(fact, rng.choice(forms(fact)), pronoun=spoken))
        return Document(" ".join(said))


def _asked(rng: Random, split: Split) -> tuple[str, str]:
    while True:
        fact = _any_fact(rng)
        form, ask = rng.choice(forms(fact)), rng.randrange(len(phrasing.QUESTIONS[fact.topic]))
        if split_of("asked", fact.subject, fact.topic, ask, form) == split:
            return phrasing.question(fact, ask), phrasing.statement(fact, form)


def _answered(rng: Random, split: Split) -> Document:
    """Questions with their answers, in prose."""
    pairs = (_asked(rng, split) for _ in range(rng.randint(1, 3)))
    return Document(" ".join(f"Question: {asked} Answer: {answer}" for asked, answer in pairs))


def _story(rng: Random, split: Split) -> Document:
    return Document(stories.story(world(), rng, split))


def _sums(rng: Random, split: Split) -> Document:
    return Document(sums.prose(rng, split))


def _fact_chat(rng: Random, split: Split) -> Document:
    return _chat(*_asked(rng, split))


def _story_chat(rng: Random, split: Split) -> Document:
    text = stories.story(world(), rng, split)
    return _chat(stories.request(rng, text), text)


def _sums_chat(rng: Random, split: Split) -> Document:
    return _chat(*sums.chat(rng, split))


Maker = Callable[[Random, Split], Document]
_PROSE: dict[Maker, float] = {_notes: 4, _profile: 4, _answered: 3, _story: 2, _sums: 2.5}
_CHATS: dict[Maker, float] = {_fact_chat: 3.0, _story_chat: 0.4, _sums_chat: 1.0}


def documents(split: Split, *, chats: bool) -> Iterator[Document]:
    """The documents of ``split``, without end, always in the same order."""
    rng = Random(f"{SEED}/{split}")
    makers = {**_PROSE, **(_CHATS if chats else {})}
    kinds, weights = tuple(makers), tuple(makers.values())
    while True:
        yield rng.choices(kinds, weights)[0](rng, split)


def _text(split: Split, characters: int) -> str:
    parts: list[str] = []
    seen: set[str] = set()
    size = 0
    for document in documents(split, chats=False):
        if size >= characters:
            break
        if document.text not in seen:
            seen.add(document.text)
            parts.append(document.text)
            size += len(document.text) + 2
    return "\n\n".join(parts) + "\n"


def files() -> dict[str, str]:
    """The committed data files, by name."""
    lines = (json.dumps(question.as_record()) for question in questions())
    return {
        "evaluation.txt": _text("evaluation", EVALUATION_CHARACTERS),
        "calibration.txt": _text("calibration", CALIBRATION_CHARACTERS),
        "questions.jsonl": "".join(f"{line}\n" for line in lines),
        "tasks.jsonl": "".join(f"{json.dumps(row)}\n" for row in tasks()),
    }


def main() -> None:
    """Write the data files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/phi-tiny"))
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (out / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
