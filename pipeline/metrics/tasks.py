"""Chat tasks: whether an answer passes its check, and where a build's answers leave the reference's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from pipeline.answers import TaskDifference, Tasks
from pipeline.model.tasks import Answers, Task

MOST = 5  # differences to read
LONGEST = 2000  # characters of an answer that are kept


def passes(task: Task, said: str) -> bool:
    """Whether an answer meets its task's check.

    exact: the answer, without white space around it. contains: anywhere in it. regex: `re.search`. json: the whole
    answer parses, and is an object that has these keys. choice: of the texts, the one that it names first, as a word
    of its own and in whatever case, is the right one.
    """
    if task.kind == "exact":
        return said.strip() in [want.strip() for want in task.wants]
    if task.kind == "contains":
        return any(want in said for want in task.wants)
    if task.kind == "regex":
        return re.search(task.wants[0], said) is not None
    if task.kind == "json":
        return _has_keys(said, task.wants)
    return _named(said, task.wants) == task.wants[0]


def _has_keys(said: str, keys: Sequence[str]) -> bool:
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return False
    return not keys or (isinstance(found, dict) and set(keys) <= found.keys())


def _named(said: str, choices: Sequence[str]) -> str | None:
    """The choice that stands first in a text; of two in one place the longer."""
    places = []
    for choice in choices:
        found = re.search(rf"(?<!\w){re.escape(choice.strip())}(?!\w)", said, re.IGNORECASE)
        if found:
            places.append((found.start(), -len(choice), choice))
    return min(places)[2] if places else None


def outcome(tasks: Sequence[Task], own: Answers, reference: Answers, data: Mapping[str, str]) -> Tasks:
    """Which tasks are passed by a build and by the reference, on the build's; at most five differences.

    A task that one of them alone passes comes first, then other answers.
    """
    count = len(own.said)
    right = _passed(tasks, own)
    held = Answers(reference.said[:count], reference.ended[:count])
    its = _passed(tasks, held)
    other = [n for n in range(count) if own.said[n].strip() != held.said[n].strip() or own.ended[n] != held.ended[n]]
    shown = sorted(other, key=lambda number: right[number] == its[number])[:MOST]
    found = tuple(
        TaskDifference(
            asked=tasks[number].messages[-1]["content"][:LONGEST],
            check=wanted(tasks[number]),
            reference=held.said[number][:LONGEST],
            build=own.said[number][:LONGEST],
            reference_passed=its[number],
            build_passed=right[number],
        )
        for number in shown
    )
    return Tasks(right, own.ended, its[:count], found, data)


def _passed(tasks: Sequence[Task], answers: Answers) -> tuple[bool, ...]:
    return tuple(passes(task, said) for task, said in zip(tasks, answers.said, strict=False))


def wanted(task: Task) -> str:
    """A check in words: `contains "carver"`, `json with the keys name, age`."""
    if task.kind == "json":
        return f"json with the keys {', '.join(task.wants)}" if task.wants else "json"
    if task.kind == "choice":
        return f'choice "{task.wants[0]}" of {", ".join(task.wants)}'
    return f"{task.kind} {' or '.join(json.dumps(want, ensure_ascii=False) for want in task.wants)}"
