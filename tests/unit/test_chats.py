"""What a package's chats are held against."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.backends.reading import CHATS
from pipeline.errors import CheckpointError
from pipeline.model.chats import rendered

REFUSES = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"


def test_a_template_that_refuses_one_chat_renders_the_others(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(REFUSES + "<{{ m.content }}>{% endfor %}", encoding="utf-8")
    assert rendered(tmp_path, CHATS) == [(CHATS[0], "<Who are you?>")]


def test_a_broken_template_is_one_line_and_a_missing_one_renders_nothing(tmp_path: Path) -> None:
    assert rendered(tmp_path, CHATS) == []
    (tmp_path / "chat_template.jinja").write_text("{% for %}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="chat_template.jinja is broken"):
        rendered(tmp_path, CHATS)
