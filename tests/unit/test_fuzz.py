"""A user's input never ends in a traceback: whatever the files hold, the error is one of ours, on one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.metrics.questions import read_questions
from pipeline.model.canonical import canonical_config, traits
from pipeline.model.checkpoint import read_headers
from pipeline.model.dimensions import dimensions_of, read_config
from pipeline.model.side_files import complete, copy_side_files
from pipeline.model.texts import windows
from pipeline.model.tokenizer import check_tokenizer, load_tokenizer
from tests.support.tiny import SHIPPED, tiny_config

TOKENIZER = load_tokenizer(SHIPPED)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted(
    {*tiny_config(), "rope_parameters", "rope_scaling", "head_dim", "quantization_config", "num_local_experts"}
)
ROPE = st.dictionaries(
    st.sampled_from(
        ["type", "rope_type", "factor", "short_factor", "long_factor", "rope_theta", "attention_factor", "x"]
    ),
    VALUES | st.sampled_from(["longrope", "yarn", "linear", "default"]),
)
WORDS = st.text(min_size=1, max_size=10)
LONG = {
    "type": "longrope",
    "short_factor": [1.0] * 16,
    "long_factor": [2.0] * 16,
}
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def one_line(work: Callable[[], Any]) -> None:
    """The work ends well, or with an error of ours of one line."""
    try:
        work()
    except PipelineError as error:
        assert str(error) and len(str(error).splitlines()) == 1, str(error)


@QUICK
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4), ROPE | st.none(), st.booleans())
def test_config_json(changes: dict[str, Any], rope: dict[str, Any] | None, long: bool) -> None:
    scaling = {**(LONG if long else {}), **(rope or {})}
    config = {**tiny_config(), **({"rope_scaling": scaling} if scaling else {}), **changes}
    for work in (lambda: dimensions_of(config, "here"), lambda: canonical_config(config), lambda: traits(config)):
        one_line(work)


@QUICK
@given(content=st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_in_any_file_of_a_folder(tmp_path_factory: Any, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("config.json", "tokenizer_config.json", "generation_config.json", "model.safetensors"):
        (folder / name).write_bytes(content)
    (folder / "model.safetensors.index.json").write_bytes(content)
    (folder / "tokenizer.json").write_bytes((SHIPPED / "tokenizer.json").read_bytes())
    out = tmp_path_factory.mktemp("out")
    one_line(lambda: dimensions_of(read_config(folder), "here"))
    one_line(lambda: read_headers(folder))
    (folder / "model.safetensors").unlink()
    one_line(lambda: read_headers(folder))
    one_line(lambda: (copy_side_files(folder, out), complete(out, canonical_config(tiny_config()))))
    (folder / "tokenizer.json").write_bytes(content)
    one_line(lambda: check_tokenizer(folder, 2048))
    one_line(lambda: (copy_side_files(folder, out), complete(out, canonical_config(tiny_config()))))


@QUICK
@given(content=st.binary(max_size=80), suffix=st.sampled_from([".txt", ".jsonl", ".NDJSON", ".json", ""]))
def test_texts(tmp_path_factory: Any, content: bytes, suffix: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / f"text{suffix}"
    path.write_bytes(content)
    one_line(lambda: windows(TOKENIZER, path, 8, 64))


@QUICK
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["text", "question", "choices", "answer", "x"]), VALUES), max_size=3)
)
def test_rows(tmp_path_factory: Any, rows: list[dict[str, Any]]) -> None:
    path: Path = tmp_path_factory.mktemp("fuzz") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    one_line(lambda: read_questions(path, TOKENIZER, 0, 512))
    one_line(lambda: windows(TOKENIZER, path, 8, 64))


@QUICK
@given(
    question=st.text(min_size=1, max_size=12), choices=st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=3)
)
def test_questions_of_any_text_are_scored_on_what_differs(
    tmp_path_factory: Any, question: str, choices: list[str]
) -> None:
    path: Path = tmp_path_factory.mktemp("fuzz") / "q.jsonl"
    path.write_text(json.dumps({"question": question, "choices": choices, "answer": 0}) + "\n", encoding="utf-8")
    try:
        (found,) = read_questions(path, TOKENIZER)
    except PipelineError:
        return
    assert all(0 < start < len(sequence) for sequence, start in zip(found.sequences, found.starts, strict=True))
