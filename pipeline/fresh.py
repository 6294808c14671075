"""A backend's runtime in a fresh process: what a user of the package would start, and nothing else loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.backends.base import RuntimeRequest
from pipeline.errors import ToolError
from pipeline.types import JSON

TIMEOUT_S = 3600


@dataclass(frozen=True)
class Answer:
    """The runtime's answer and the peak memory of its process tree."""

    value: JSON
    peak_rss_bytes: int


def ask_runtime(backend: str, package: Path, request: RuntimeRequest) -> Answer:
    """Start the backend's runtime on a package and wait for its answer. Raises ToolError with its last words."""
    from pipeline.metrics.memory import TreeWatch

    command = [sys.executable, "-m", f"pipeline.backends.{backend}.runtime", str(package)]
    pipe, where = subprocess.PIPE, f"{backend} runtime on {package}"
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, encoding="utf-8") as child,
        TreeWatch(child.pid) as watch,
    ):
        try:
            out, errors = child.communicate(json.dumps(request.to_json()), timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            raise ToolError(
                f"no answer in {TIMEOUT_S:g} s", where=where, hint="stop other programs, or take a smaller model"
            ) from None
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        lines = [line for line in (errors or out).strip().splitlines() if line.strip()]
        ended = f"ended by signal {-child.returncode}" if child.returncode < 0 else f"exit {child.returncode}"
        raise ToolError(lines[-1] if lines else ended, where=where)
    try:
        return Answer(json.loads(out.strip().splitlines()[-1]), watch.peak_rss_bytes)
    except (ValueError, IndexError):
        raise ToolError("it gave no answer", where=where) from None
