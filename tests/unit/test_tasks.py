"""Chat tasks: what their files may say, what passes, and what is said of a wrong line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CheckpointError, DataError
from pipeline.metrics.shared import quality
from pipeline.metrics.tasks import MOST, outcome, passes
from pipeline.metrics.uncertainty import wilson
from pipeline.model.chats import parted, rendered_all
from pipeline.model.tasks import Answers, Task, read_tasks
from pipeline.model.tokenizer import load_tokenizer
from pipeline.records import Tails, Windows
from tests.support.tiny import ROOT

ASKED = [{"role": "user", "content": "Who?"}]
MODEL = ROOT / "models/phi-tiny"
NO_WINDOWS, NO_TAILS = Windows((), (), (), (), (), ()), Tails((), (), (), ())


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def task(check: dict[str, Any], tmp_path: Path) -> Task:
    return read_tasks([written(tmp_path / "one.jsonl", {"messages": ASKED, "check": check})])[0][0]


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ({"exact": "Ann"}, [" Ann\n"], ["Ann.", "ann", ""]),
        ({"exact": ["Ann", "Bob"]}, ["Bob"], ["Ann Bob"]),
        ({"contains": "Ann"}, ["It is Ann."], ["It is ann."]),
        ({"contains": ["Ann", "你好"]}, ["说你好。"], ["你 好"]),
        ({"regex": r"(?i)^ann\b"}, ["ANN, I think"], ["Annie", "It is Ann"]),
        ({"json": ["name", "age"]}, ['{"age": 1, "name": "Ann", "more": []}'], ['{"name": 1}', "[]", "Ann", "```{}"]),
        ({"json": []}, ["[1]", "{}"], ["{", ""]),
        ({"choice": "red", "of": ["blue", "red"]}, ["RED.", "It is red, not blue."], ["blue or red", "reddish", ""]),
        ({"choice": "New York", "of": ["New", "New York"]}, ["In New York"], ["In New Haven"]),
    ],
)
def test_a_check_passes_what_it_says(check: dict[str, Any], right: list[str], wrong: list[str], tmp_path: Path) -> None:
    held = task(check, tmp_path)
    assert Task.from_json(json.loads(json.dumps(held.to_json()))) == held
    assert all(passes(held, said) for said in right)
    assert not any(passes(held, said) for said in wrong)


GOOD = {"messages": ASKED, "check": {"exact": "Ann"}}
WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "no valid JSON"),
    "no object": ([1], "no JSON object"),
    "no messages": ({"check": {"exact": "a"}}, "no task: there is no `messages` beside `check`"),
    "no check": ({"messages": ASKED}, "no task: there is no `check` beside `messages`"),
    "another field": ({**GOOD, "chek": 1}, "a task has no `chek`; did you mean 'check'?"),
    "a text for messages": ({**GOOD, "messages": "Who?"}, '`messages` is a list of {"role": …, "content": …}'),
    "a message that is none": ({**GOOD, "messages": ["Who?"]}, 'message 1 has `role` and `content`, not "Who?"'),
    "a field of a message": ({**GOOD, "messages": [{"role": "user", "text": "?"}]}, "not `role`, `text`"),
    "a role": ({**GOOD, "messages": [{"role": "human", "content": "?"}]}, "role 'human' is none of system, user"),
    "a content": ({**GOOD, "messages": [{"role": "user", "content": ["?"]}]}, "`content` is a text"),
    "an answer at its end": (
        {**GOOD, "messages": [*ASKED, {"role": "assistant", "content": "Ann"}]},
        "the last message is the user's",
    ),
    "a check that is a text": ({**GOOD, "check": "Ann"}, "`check` is an object with one of exact, contains, regex"),
    "an unknown check": ({**GOOD, "check": {"contain": "a"}}, "unknown check 'contain'; did you mean 'contains'?"),
    "two checks": ({**GOOD, "check": {"exact": "a", "regex": "a"}}, "`check` has one of"),
    "of without choice": ({**GOOD, "check": {"exact": "a", "of": ["a", "b"]}}, "`of` is for choice"),
    "a choice without of": ({**GOOD, "check": {"choice": "a"}}, "`of` is for choice"),
    "a choice of others": ({**GOOD, "check": {"choice": "c", "of": ["a", "b"]}}, "'c' is none of those in `of`"),
    "a choice of one": ({**GOOD, "check": {"choice": "a", "of": ["a", "A"]}}, "two or more texts, each once"),
    "a pattern": ({**GOOD, "check": {"regex": "a("}}, "the pattern does not compile: missing ), unterminated"),
    "keys that are a text": ({**GOOD, "check": {"json": "name"}}, "`json` is the list of keys that the object has"),
    "a number": ({**GOOD, "check": {"exact": 4}}, "`exact` is a text, or a list of texts of which one is enough"),
    "an empty list": ({**GOOD, "check": {"contains": []}}, "`contains` is an empty list, which nothing meets"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_line_is_said_with_its_number_and_what_is_expected(name: str, tmp_path: Path) -> None:
    row, said = WRONG[name]
    path = written(tmp_path / "tasks.jsonl", GOOD, "", row)
    with pytest.raises(DataError) as caught:
        read_tasks([path])
    assert f"{path}:3" in str(caught.value) and said in str(caught.value)


def test_an_empty_file_and_a_missing_one_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no tasks in it"):
        read_tasks([written(tmp_path / "tasks.jsonl")])
    with pytest.raises(DataError, match="there is no such file"):
        read_tasks([tmp_path / "other.jsonl"])


def test_the_first_of_several_files_are_of_each(tmp_path: Path) -> None:
    one = written(tmp_path / "a.jsonl", *({**GOOD, "check": {"exact": f"a{n}"}} for n in range(3)))
    other = written(tmp_path / "b.jsonl", {**GOOD, "check": {"exact": "b0"}})
    assert [held.wants[0] for held, _ in read_tasks([one, other])] == ["a0", "b0", "a1", "a2"]
    assert [held.wants[0] for held, _ in read_tasks([one, other], 2)] == ["a0", "b0"]


def test_shares_flips_and_differences_are_of_the_same_tasks() -> None:
    tasks = [Task(({"role": "user", "content": f"{n}?"},), "exact", ("yes",)) for n in range(8)]
    reference = Answers(("yes", "no", *["yes"] * 6), (True,) * 8)
    own = Answers(("no", "yes", "yes", "yes ", "yes", "no", "yes yes", "yes"), (True, False, *[True] * 6))
    found = outcome(tasks, own, reference, {"tasks.jsonl": "1"})
    assert found.passed == (False, True, True, True, True, False, False, True)
    assert len(found.differences) == 4 <= MOST
    assert [one.asked for one in found.differences] == ["0?", "1?", "5?", "6?"]
    first = found.differences[0]
    assert (first.check, first.reference, first.build) == ('exact "yes"', "yes", "no")
    assert first.reference_passed and not first.build_passed
    figures = quality(NO_WINDOWS, None, NO_TAILS, (), None, found)
    assert figures.tasks_passed == 5 / 8 and figures.task_flips == 4 / 8 and figures.tasks_never_ended == 1 / 8
    assert (figures.tasks_passed_low, figures.tasks_passed_high) == wilson(5, 8)
    assert quality(NO_WINDOWS, None, NO_TAILS, (), None).tasks_passed is None


def test_a_template_that_refuses_a_chat_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    chats = [(ASKED, "tasks.jsonl:1"), ([{"role": "system", "content": "Be short."}, *ASKED], "tasks.jsonl:2")]
    with pytest.raises(CheckpointError, match="it has no chat template, which tasks are asked by"):
        rendered_all(tmp_path, chats)
    for template in (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}",
        "{% if messages[0].role == 'system' %}{{ 'no system turn' + 1 }}{% endif %}",
    ):
        (tmp_path / "chat_template.jinja").write_text(template)
        with pytest.raises(DataError, match="the model's chat template refuses it") as caught:
            rendered_all(tmp_path, chats)
        assert "tasks.jsonl:2" in str(caught.value)


def test_where_two_texts_part_is_said_by_token() -> None:
    tokenizer = load_tokenizer(MODEL)
    right = "<|user|>\nWho?<|end|>\n<|assistant|>\n"
    assert parted(tokenizer, right, right) == ""
    said = parted(tokenizer, right.replace("<|end|>", "<|endoftext|>"), right)
    assert "is '<|endoftext|>', not '<|end|>'" in said and "Who" in said
    assert "is '', not" in parted(tokenizer, right.removesuffix("<|assistant|>\n"), right)
