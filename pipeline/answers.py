"""What builds said: continuations, chats and tasks, beside what the reference said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Example:
    """A prompt that the build goes on with otherwise than the reference: texts, from `departs` tokens on apart."""

    prompt: str
    reference: str
    build: str
    departs: int


@dataclass(frozen=True)
class Sample:
    """A question asked as a chat, the right answer, and what was said greedily; `whole` where it came to its end.

    `file` is the picture's or sound's, where the question is of one, and `prompt` the chat's text.
    """

    question: str
    answer: str
    said: str
    whole: bool
    file: str = ""
    prompt: str = ""


@dataclass(frozen=True)
class TaskDifference:
    """A chat task that a build answers otherwise than the reference: what was asked last, the check, both answers."""

    asked: str
    check: str
    reference: str
    build: str
    reference_passed: bool
    build_passed: bool


@dataclass(frozen=True)
class Tasks:
    """Chat tasks through the packaged runtime: which were passed, and which answers came to an end.

    `reference_passed` are transformers' own; `differences` are at most five; `data` has the SHA-256 of each file of
    tasks.
    """

    passed: tuple[bool, ...]
    ended: tuple[bool, ...]
    reference_passed: tuple[bool, ...]
    differences: tuple[TaskDifference, ...]
    data: Mapping[str, str]


@dataclass(frozen=True)
class HarnessFile:
    """imports/tasks/<cell>.json: figures of lm-evaluation-harness on a package by `task/metric`, settings by task."""

    format: int
    cell: str
    backend: str
    package_sha256: str
    figures: Mapping[str, float]
    settings: Mapping[str, Mapping[str, Any]]
