"""repro: `compose`, `dvc repro --keep-going` and `report` in one, without DVC's talk."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

INTERRUPTED = 252  # DVC's exit code


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="as Hydra takes them: 'precision=[int4]' suite=smoke")
    parser.add_argument("--json", action="store_true", help="print reports/cells.json instead of the table")


def run(arguments: argparse.Namespace) -> int:
    from pipeline.commands import compose, report

    composed = argparse.Namespace(overrides=arguments.overrides, check=False, json=False)
    with redirect_stdout(sys.stderr):
        compose.run(composed)
    code = _dvc("repro", "--keep-going")
    if code == INTERRUPTED:
        return 130
    told = report.run(argparse.Namespace(json=arguments.json, fill=None, compare=None))
    return told or (1 if code else 0)


def _dvc(*words: str) -> int:
    """DVC's exit code; what it and the stages print goes to stderr. An interrupt is theirs to end by."""
    from pipeline.reporting.console import SAID_BY

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # stages run this Python
    command = [sys.executable, "-m", "pipeline.harness.quiet_dvc", *words]
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.run(command, stdout=sys.stderr, env={**os.environ, "PATH": path, SAID_BY: "repro"}).returncode
    finally:
        signal.signal(signal.SIGINT, before)
