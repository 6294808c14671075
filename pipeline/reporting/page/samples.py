"""Prompts that packages go on with otherwise than the reference, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os.path import commonprefix

from pipeline.answers import Example, TaskDifference
from pipeline.reporting.verdict import called
from pipeline.rows import Row

MOST = 5  # prompts of a model; more where a build has none among them
LONGEST = 400  # characters of a text


@dataclass(frozen=True)
class Sample:
    """A build's text, in what it shares with the reference and where it departs."""

    row: Row
    name: str
    same: str
    other: str


@dataclass(frozen=True)
class Prompt:
    """A prompt, the reference's text, and those of the builds that depart from it."""

    model: str
    prompt: str
    reference: str
    samples: tuple[Sample, ...]


def samples(rows: Sequence[Row], told: Callable[[Row], Sequence[Example]] = lambda row: row.examples) -> list[Prompt]:
    """At most MOST prompts of each model, those where most builds depart; every build that departs has one."""
    found: list[Prompt] = []
    for model in dict.fromkeys(row.model for row in rows):
        builds = _builds([row for row in rows if row.model == model], told)
        by_prompt: dict[tuple[str, str], list[tuple[Row, Example]]] = {}
        for row in builds:
            for example in told(row):
                by_prompt.setdefault((example.prompt, example.reference), []).append((row, example))
        for prompt, reference in _chosen(by_prompt):
            texts = tuple(_sample(row, example, rows) for row, example in by_prompt[prompt, reference])
            found.append(Prompt(model, prompt[-LONGEST:], reference[:LONGEST], texts))
    return found


def task_samples(rows: Sequence[Row]) -> list[Prompt]:
    """The same of chat tasks that were answered otherwise: what was asked with its check, each answer with its end."""
    return samples(rows, lambda row: [_as_example(difference) for difference in row.tasks])


def _as_example(one: TaskDifference) -> Example:
    reference, build = (
        f"{'passes' if passed else 'fails'}: {said.strip()}"
        for said, passed in ((one.reference, one.reference_passed), (one.build, one.build_passed))
    )
    return Example(f"{one.asked} ({one.check})", reference, build, 0)


def _builds(rows: Sequence[Row], told: Callable[[Row], Sequence[Example]]) -> list[Row]:
    """A row for each build, which its targets share."""
    kept: dict[tuple[str, str, tuple[Example, ...]], Row] = {}
    for row in rows:
        kept.setdefault((row.backend, row.option, tuple(told(row))), row)
    return list(kept.values())


def _chosen(by_prompt: dict[tuple[str, str], list[tuple[Row, Example]]]) -> list[tuple[str, str]]:
    """The prompts with the most builds, and for every build that is not among them its own with the most."""
    order = sorted(by_prompt, key=lambda prompt: -len(by_prompt[prompt]))
    kept, seen = order[:MOST], {row.id for prompt in order[:MOST] for row, _ in by_prompt[prompt]}
    for prompt in order[MOST:]:
        if any(row.id not in seen for row, _ in by_prompt[prompt]):
            kept.append(prompt)
            seen |= {row.id for row, _ in by_prompt[prompt]}
    return kept


def _sample(row: Row, example: Example, rows: Sequence[Row]) -> Sample:
    shared = len(commonprefix([example.reference, example.build]))
    return Sample(row, called(row, rows), example.build[:shared][:LONGEST], example.build[shared:][:LONGEST])
