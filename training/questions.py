"""The held-out multiple choice questions.

A question is the beginning of a statement. Its fact occurs in the training text in the other phrasings, and
its phrasing occurs there with other facts; the two together occur nowhere but here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from random import Random
from typing import Any

from training import phrasing, sums
from training.facts import PERSON_TOPICS, SEED, TOWN_TOPICS, Fact, world

PER_PERSON_TOPIC = 18
PER_TOWN_TOPIC = 7
SUMS = 17
TASKS, TASK_SUMS = 28, 4


@dataclass(frozen=True)
class Question:
    """A text, four ways to go on, and the index of the right one."""

    question: str
    choices: tuple[str, ...]
    answer: int
    topic: str

    def as_record(self) -> dict[str, object]:
        """What is written to the file."""
        return asdict(self)


@cache
def held_out() -> dict[Fact, int]:
    """For the facts that are asked about: the statement that is kept out of every text."""
    rng = Random(f"{SEED}/held-out")
    kept: dict[Fact, int] = {}
    for topics, count in ((PERSON_TOPICS, PER_PERSON_TOPIC), (TOWN_TOPICS, PER_TOWN_TOPIC)):
        for topic in topics:
            facts = [fact for fact in world().facts.values() if fact.topic == topic]
            for fact in rng.sample(facts, count):
                kept[fact] = rng.randrange(len(phrasing.STATEMENTS[topic]))
    return kept


@cache
def forms(fact: Fact) -> tuple[int, ...]:
    """The statements that texts may use for ``fact``."""
    kept = held_out().get(fact)
    return tuple(form for form in range(len(phrasing.STATEMENTS[fact.topic])) if form != kept)


def _framed(rng: Random, asked: str, opening: str) -> str:
    """The question text: the bare opening, or asked for in prose, or in a chat."""
    frame = rng.choices(("bare", "prose", "chat"), (60, 20, 20))[0]
    if frame == "bare":
        return opening
    if frame == "prose":
        return f"Question: {asked} Answer: {opening}"
    return f"<|user|>\n{asked}<|end|>\n<|assistant|>\n{opening}"


def _about_fact(rng: Random, fact: Fact, form: int) -> Question:
    others = [value for value in world().values(fact.topic) if value not in (fact.value, fact.subject)]
    choices = [fact.value, *rng.sample(others, 3)]
    rng.shuffle(choices)
    opening = phrasing.opening(fact, form)
    asked = phrasing.question(fact, rng.randrange(len(phrasing.QUESTIONS[fact.topic])))
    answers = tuple(f" {choice}" for choice in choices)
    return Question(_framed(rng, asked, opening), answers, choices.index(fact.value), fact.topic)


def _about_sum(rng: Random) -> Question:
    problem, form = sums.problem(rng, "questions")
    result = problem.result
    if problem.operator == ">":
        near = {problem.a + problem.b, min(problem.a, problem.b), result + 1, result - 1}
    else:
        near = {result + step for step in (-10, -2, -1, 1, 2, 10)}
    numbers = [result, *rng.sample(sorted(number for number in near if number >= 0 and number != result), 3)]
    rng.shuffle(numbers)
    said = problem.statement(form)
    opening = said.removesuffix(f" {result}.")
    answers = tuple(f" {number}" for number in numbers)
    framed = _framed(rng, problem.question(rng.randrange(6)), opening)
    return Question(framed, answers, numbers.index(result), "sums")


@cache
def questions() -> tuple[Question, ...]:
    """All of them, in the order of the file."""
    rng = Random(f"{SEED}/questions")
    asked = [_about_fact(rng, fact, form) for fact, form in held_out().items()]
    while len(asked) < len(held_out()) + SUMS:
        candidate = _about_sum(rng)
        if candidate.question not in {other.question for other in asked}:
            asked.append(candidate)
    rng.shuffle(asked)
    return tuple(asked)


@cache
def tasks() -> tuple[dict[str, Any], ...]:
    """Chat tasks (evaluate.tasks) on the same facts and on sums, with a check of the answer."""
    rng = Random(f"{SEED}/tasks")
    rows = [_task(rng, fact, number) for number, fact in enumerate(rng.sample(list(held_out()), TASKS))]
    for at in range(TASK_SUMS):
        problem, _ = sums.problem(rng, "questions")
        rows.insert(8 * at + 3, _row(problem.question(rng.randrange(6)), {"regex": rf"\b{problem.result}\.$"}, "sums"))
    return tuple(rows)


def _task(rng: Random, fact: Fact, number: int) -> dict[str, Any]:
    asked = phrasing.question(fact, rng.randrange(len(phrasing.QUESTIONS[fact.topic])))
    if number % 2:
        others = [value for value in world().values(fact.topic) if value not in (fact.value, fact.subject)]
        options = [fact.value, *rng.sample(others, 3)]
        rng.shuffle(options)
        return _row(asked, {"choice": fact.value, "of": options}, fact.topic)
    return _row(asked, {"contains": fact.value}, fact.topic)


def _row(asked: str, check: dict[str, Any], topic: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}], "check": check, "topic": topic}
