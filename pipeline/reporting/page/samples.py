"""Prompts that packages go on with otherwise than the reference, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix

from pipeline.records import Example
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


def samples(rows: Sequence[Row]) -> list[Prompt]:
    """At most MOST prompts of each model, those where most builds depart; every build that departs has one."""
    found: list[Prompt] = []
    for model in dict.fromkeys(row.model for row in rows):
        builds = _builds([row for row in rows if row.model == model])
        by_prompt: dict[tuple[str, str], list[tuple[Row, Example]]] = {}
        for row in builds:
            for example in row.examples:
                by_prompt.setdefault((example.prompt, example.reference), []).append((row, example))
        for prompt, reference in _chosen(by_prompt):
            texts = tuple(_sample(row, example, rows) for row, example in by_prompt[prompt, reference])
            found.append(Prompt(model, prompt[-LONGEST:], reference[:LONGEST], texts))
    return found


def _builds(rows: Sequence[Row]) -> list[Row]:
    """A row for each build, which its targets share."""
    kept: dict[tuple[str, str, tuple[Example, ...]], Row] = {}
    for row in rows:
        kept.setdefault((row.backend, row.option, row.examples), row)
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
