"""What other people's errors become: one line, never an error of ours about theirs."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from pipeline.backends import process
from pipeline.backends.request import RuntimeRequest, serve
from pipeline.errors import ConfigError, ToolError, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (RuntimeError("\n \n"), "RuntimeError"),
        (KeyError(), "KeyError"),
        (OSError("\n  indented\nmore"), "indented"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_a_runtime_that_fails_without_a_word_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wordless(package: str, request: RuntimeRequest) -> dict[str, object]:
        raise RuntimeError("")

    monkeypatch.setattr(sys, "argv", ["runtime", "package"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(RuntimeRequest("generate", [[1]], 1).to_json())))
    assert serve(wordless) == 1
    assert capsys.readouterr().err == "RuntimeError: RuntimeError\n"


def test_a_runtime_that_hangs_is_stopped_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    hanging.chmod(0o755)
    monkeypatch.setattr(process.sys, "executable", str(hanging))
    monkeypatch.setattr(process, "TIMEOUT_S", 0.3)
    with pytest.raises(ToolError, match=r"mlx runtime on .*: no answer in 0\.3 s"):
        process.ask_runtime("mlx", tmp_path, RuntimeRequest("generate", [[1]], 1))


def test_what_a_terminal_would_act_on_is_shown_by_its_escapes() -> None:
    assert (
        str(ConfigError("key 'a\r\n\x1b[31m\u2028\udc80' is not known"))
        == r"key 'a\r\n\x1b[31m\u2028\udc80' is not known"
    )
    assert str(ConfigError("Größe 模型", where="a b", hint="run")) == "a b: Größe 模型; run"
