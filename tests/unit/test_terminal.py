"""What a person sees of the commands: width, colour, `--json` and completion."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.commands import COMMANDS, parser
from pipeline.terminal import paint, width
from pipeline.version import VERSION
from tests.support.project import SMOKE, Project

CELLS = ["local_fp32_onnxruntime_cpu", "local_int4_onnxruntime_cpu"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_and_no_color_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert paint("ok", "green", io.StringIO()) == "ok"
    assert paint("ok", "green", Terminal()) == "\x1b[32mok\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("ok", "green", Terminal()) == "ok"


def test_the_width_is_the_terminals_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, expected in (("80", 80), ("10", 40), ("300", 120)):
        monkeypatch.setenv("COLUMNS", columns)
        assert width() == expected


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"phi-deploy {VERSION}\n"


def test_every_command_that_says_something_has_json() -> None:
    whole: Any = parser(whole=True)
    commands = whole._subparsers._group_actions[0].choices
    for name, own in commands.items():
        options = own._option_string_actions
        assert ("--json" in options) == (name not in ("completion", "worker")), name
    assert set(commands) == set(COMMANDS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_the_commands_and_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "--shell", shell]) == 0
    script = capsys.readouterr().out
    assert "import-benchmark" in script and "busy-load" in script


def test_json_is_all_that_stdout_has(finished: Project) -> None:
    package = f"packages/{CELLS[1]}"
    composed = json.loads(finished.pipeline("compose", "--json", *SMOKE).stdout)
    assert composed["cells"] == CELLS and composed["written"] is False
    assert json.loads(finished.pipeline("compose", "--json", "--check").stdout)["cells"] == CELLS
    (verified,) = json.loads(finished.pipeline("verify", "--json", package).stdout)
    assert verified["cell"] == CELLS[1] and verified["status"] == "ok" and verified["size_bytes"] > 0
    for command in (("plan", *SMOKE), ("report",), ("recommend",), ("doctor",)):
        done = finished.pipeline(*command, "--json")
        assert json.loads(done.stdout), done.stderr


def test_gate_says_the_figures_beside_the_bounds(finished: Project) -> None:
    done = finished.pipeline("gate", CELLS[0])
    assert done.returncode == 0 and "max_kl_nats 0.1: " in done.stdout and "gate: passed" in done.stdout
    gated = json.loads(finished.pipeline("gate", "--json", CELLS[0]).stdout)
    assert gated["passed"] and gated["held"][0]["cell"] == CELLS[0]
    assert {gate["gate"] for gate in gated["held"][0]["gates"]} >= {"max_kl_nats"}


def test_commands_import_no_ml_library() -> None:
    code = (
        "import sys; from pipeline.commands import parser; parser(whole=True)\n"
        "heavy = {'torch', 'transformers', 'numpy', 'mlflow', 'dvc', 'shtab', 'hydra'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
