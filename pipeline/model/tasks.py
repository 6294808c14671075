"""Chat tasks that users give: JSONL of `messages` and a `check` of the answer. Standard library, for planning."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from pipeline.errors import DataError, first_line, suggest
from pipeline.model.texts import read_rows
from pipeline.types import JSON

CHECKS = {
    "exact": "a text, or a list of texts of which one is enough",
    "contains": "a text, or a list of texts of which one is enough",
    "regex": "a pattern of Python's re, searched for",
    "json": "the list of keys that the object has",
    "choice": "the right one of the texts in `of`",
}
FIELDS = ("messages", "check", "id", "topic")  # the last two are for people
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Task:
    """A chat, and what its answer is held to: `kind` of CHECKS, with what it wants; of a choice the right one first."""

    messages: tuple[Mapping[str, str], ...]
    kind: str
    wants: tuple[str, ...]

    def to_json(self) -> JSON:
        return {"messages": list(self.messages), "kind": self.kind, "wants": list(self.wants)}

    @classmethod
    def from_json(cls, raw: JSON) -> Task:
        return cls(tuple(raw["messages"]), raw["kind"], tuple(raw["wants"]))


@dataclass(frozen=True)
class Answers:
    """What was said to each chat, and whether it came to its end within the tokens that it may take."""

    said: tuple[str, ...]
    ended: tuple[bool, ...]

    def to_json(self) -> JSON:
        return {"said": list(self.said), "ended": list(self.ended)}

    @classmethod
    def from_json(cls, raw: JSON) -> Answers:
        return cls(tuple(raw["said"]), tuple(map(bool, raw["ended"])))


def read_tasks(paths: Sequence[Path], limit: int = 0) -> list[tuple[Task, str]]:
    """The first `limit` tasks of JSONL files, 0 is all, each with its file and line; of several files by turns.

    Raises DataError naming file and line, with what is expected there.
    """
    files = [_read(path) for path in paths]
    turns = [found for found in chain.from_iterable(zip_longest(*files)) if found is not None]
    return turns[: limit or None]


def _read(path: Path) -> list[tuple[Task, str]]:
    found = [(_parse(row, where), where) for row, where in read_rows(path)]
    if not found:
        raise DataError("there are no tasks in it", where=str(path), hint="set evaluate.tasks=[] to do without")
    return found


def _parse(row: JSON, where: str) -> Task:
    for name in ("messages", "check"):
        if name not in row:
            raise DataError(f"no task: there is no `{name}` beside {_listed(row)}", where=where)
    for name in row:
        if name not in FIELDS:
            raise DataError(f"a task has no `{name}`", where=where, hint=suggest(name, FIELDS))
    return Task(_messages(row["messages"], where), *_check(row["check"], where))


def _messages(raw: Any, where: str) -> tuple[Mapping[str, str], ...]:
    if not isinstance(raw, list) or not raw:
        raise DataError('`messages` is a list of {"role": …, "content": …}', where=where)
    for number, message in enumerate(raw, 1):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            said = _listed(message) if isinstance(message, dict) else json.dumps(message)[:40]
            raise DataError(f"message {number} has `role` and `content`, not {said}", where=where)
        if message["role"] not in ROLES:
            known = ", ".join(ROLES)
            raise DataError(f"message {number}: role {message['role']!r} is none of {known}", where=where)
        if not isinstance(message["content"], str):
            raise DataError(f"message {number}: `content` is a text", where=where)
    if raw[-1]["role"] != "user":
        raise DataError("the last message is the user's, which is answered", where=where)
    return tuple(raw)


def _check(raw: Any, where: str) -> tuple[str, tuple[str, ...]]:
    """The kind of a check and what it wants."""
    if not isinstance(raw, dict) or not raw:
        raise DataError(f"`check` is an object with one of {', '.join(CHECKS)}", where=where)
    kinds = [name for name in raw if name != "of"]
    unknown = next((name for name in kinds if name not in CHECKS), None)
    if unknown is not None:
        raise DataError(f"unknown check '{unknown}'", where=where, hint=suggest(unknown, CHECKS))
    if len(kinds) != 1 or ("of" in raw) is not (kinds == ["choice"]):
        raise DataError(f"`check` has one of {', '.join(CHECKS)}; `of` is for choice", where=where)
    kind, held = kinds[0], raw[kinds[0]]
    several = isinstance(held, list) and kind in ("exact", "contains", "json")
    wants = held if several else [held]
    if kind == "json" and not several or not all(isinstance(text, str) and text.strip() for text in wants):
        raise DataError(f"`{kind}` is {CHECKS[kind]}", where=where)
    if not wants and kind != "json":
        raise DataError(f"`{kind}` is an empty list, which nothing meets", where=where)
    if kind == "regex":
        _compiles(held, where)
    return kind, _choices(held, raw["of"], where) if kind == "choice" else tuple(wants)


def _choices(right: str, given: Any, where: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(text, str) and text.strip() for text in given):
        raise DataError("`of` is the list of texts to choose from", where=where)
    folded = [text.strip().casefold() for text in given]
    if len(given) < 2 or len(set(folded)) < len(given):
        raise DataError("`of` is two or more texts, each once", where=where)
    if right not in given:
        raise DataError(f"the choice {right!r} is none of those in `of`", where=where)
    return (right, *(text for text in given if text != right))


def _compiles(pattern: str, where: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise DataError(f"the pattern does not compile: {first_line(error)}", where=where) from None


def _listed(row: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in row) or "nothing"
