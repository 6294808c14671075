"""The stage harness: logging, what it shows, timing, peak memory, the StageRecord and the exit code."""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from pipeline import layout
from pipeline.errors import explain
from pipeline.files import fresh_folder, write_bytes, write_json
from pipeline.harness.inputs import read_entry
from pipeline.harness.interpreter import hide
from pipeline.harness.outcome import Skip, why_skipped, why_unusable, write_skipped
from pipeline.harness.parent import end_with_parent
from pipeline.harness.place import end, place
from pipeline.harness.said import said
from pipeline.harness.screen import Screen, tools_apart
from pipeline.harness.stages import Stage
from pipeline.records import StageRecord
from pipeline.strict import plain
from pipeline.types import Status

log = logging.getLogger(__name__)

EMPTY_ARCHIVE = b"PK\x05\x06" + bytes(18)  # an .npz without arrays: a result that DVC looks for is always there
QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "NNCF_CI": "1",  # NNCF's switch for telemetry
}


_screen: Screen | None = None  # of the stage that runs


def setup(stream: TextIO | None = None) -> None:
    """Plain log lines, on stderr by default; telemetry of every dependency off, unless the user set it."""
    logging.basicConfig(level=_level(), format="%(message)s", stream=stream or sys.stderr)
    logging.getLogger("pipeline").setLevel(_level())
    for noisy in ("httpx", "urllib3", "matplotlib", "onnxruntime", "onnx_ir", "onnxscript", "root"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # OpenVINO's converter reports its use unless this package is missing; it knows no other switch.
    hide("openvino_telemetry")


def _level() -> str:
    return os.environ.get("PHI_DEPLOY_LOG", "INFO").upper()


def run_stage(stage: str, key: str, work: Callable[[], object]) -> int:
    """Run one stage's work and return its exit code.

    Work that cannot be done here raises Skip; what it returns, if that is text, is its result in words. The record
    outside DVC's outs is written whatever happens; an expected error is one line, an unexpected one keeps its
    traceback.
    """
    global _screen
    end_with_parent()
    with tools_apart(layout.log(stage, key), apart=bool(key) and _level() != "DEBUG") as stream:
        setup(stream)
        _screen = Screen(stage, key, place() if key else "", stream) if key else None
        try:
            return _run(stage, key, work, stream)
        finally:
            if _screen:
                _screen.close()
            _screen = None


def _run(stage: str, key: str, work: Callable[[], object], stream: TextIO) -> int:
    name = f"{stage}@{key}" if key else stage
    started, begun = datetime.now(UTC), time.perf_counter()
    status, reason, code, done = Status.OK, "", 0, None
    try:
        done = work()
    except Skip as skipped:
        status, reason = Status.SKIPPED, str(skipped)
    except BaseException as error:
        expected = explain(error)
        if _screen:
            _screen.close()
        if expected is None:
            traceback.print_exc(file=stream)
        status = Status.FAILED
        reason, code = expected or (f"{type(error).__name__}: {error}", 1)
    record = StageRecord(
        status,
        reason,
        stage=stage,
        key=key,
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - begun, 3),
        peak_rss_bytes=peak_rss_bytes(),
        host=platform.node(),
        python=platform.python_version(),
    )
    with suppress(OSError):  # a full disk must not hide the reason
        write_json(layout.record(stage, key), plain(record))
    if key:
        end()
    if code:
        log.error("error: %s: %s", name, reason)
    elif _screen:
        _screen.end(f"skipped: {reason}" if status is Status.SKIPPED else done if isinstance(done, str) else "")
    return code


def run_entry(stage: Stage, key: str, step: Callable[..., Any]) -> str:
    """One entry of a stage over the plan: `step(key, entry, out)`, or `step(key, entry)` where it leaves a JSON file.

    What the step returns, a dataclass or plain data, is the file or the folder's manifest, which comes last; None where
    the step writes it. Returns the result in words. Raises Skip, with all results saying so, when an earlier one was
    skipped or a tool is missing.
    """
    entry = read_entry(stage, key)
    outs = stage.outs(key)
    reason = why_skipped(stage.after(key, entry)) or _why_unusable(entry)
    try:
        if reason:
            raise Skip(reason)
        if outs[0].suffix == ".json":
            made = step(key, entry)
            write_json(outs[0], plain(made))
            return said(entry, made, outs[0])
        with fresh_folder(outs[0]) as out:
            made = step(key, entry, out)
            if made is not None:
                write_json(out / layout.MANIFEST, plain(made))
        return said(entry, made, outs[0])
    except Skip as skipped:
        _skip(outs, str(skipped))
        raise


def _why_unusable(entry: Any) -> str | None:
    backend = getattr(entry, "backend", "")
    return why_unusable(backend, getattr(entry, "without", ())) if backend else None


def _skip(outs: tuple[Path, ...], reason: str) -> None:
    if outs[0].suffix == ".json":
        for path in outs[1:]:
            write_bytes(path, EMPTY_ARCHIVE)
        write_skipped(outs[:1], reason)
        return
    with fresh_folder(outs[0]) as out:
        write_skipped([out], reason)
    write_skipped(outs[1:], reason)


def peak_rss_bytes() -> int | None:
    """Peak resident memory of this process so far, or None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def progress(label: str) -> Callable[[int, int], None]:
    """What a stage calls with (done, total): the bar of the stage that runs, or nothing."""

    def advance(done: int, total: int) -> None:
        if _screen:
            _screen.advance(done, total)

    return advance
