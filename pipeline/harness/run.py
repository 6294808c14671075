"""The stage harness: logging, progress, timing, peak memory, the StageRecord and the exit code."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from pipeline import layout
from pipeline.errors import PipelineError
from pipeline.files import disk_error, write_json
from pipeline.harness.interpreter import hide
from pipeline.harness.params import entry, read_params
from pipeline.types import JSON, Status

log = logging.getLogger(__name__)

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


def setup() -> None:
    """Plain log lines on stderr; telemetry of every dependency off, unless the user set it."""
    logging.basicConfig(level=os.environ.get("PHI_DEPLOY_LOG", "INFO"), format="%(message)s", stream=sys.stderr)
    logging.getLogger("pipeline").setLevel(os.environ.get("PHI_DEPLOY_LOG", "INFO"))
    for noisy in ("httpx", "urllib3", "matplotlib", "onnxruntime", "onnx_ir", "onnxscript", "root"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # OpenVINO's converter reports its use unless this package is missing; it knows no other switch.
    hide("openvino_telemetry")


def run_stage(stage: str, key: str, work: Callable[[], str | None]) -> int:
    """Run one stage's work and return its exit code.

    `work` returns None, or the reason for which it skipped. The record outside DVC's outs is written
    whatever happens; an expected error is one line, an unexpected one keeps its traceback.
    """
    setup()
    name = f"{stage}@{key}" if key else stage
    started, begun = datetime.now(UTC), time.perf_counter()
    status, reason, code = Status.OK, "", 0
    try:
        skipped = work()
        if skipped:
            status, reason = Status.SKIPPED, skipped
    except PipelineError as error:
        status, reason, code = Status.FAILED, str(error), error.exit_code
    except OSError as error:
        clear = disk_error(error, name)
        status, reason, code = Status.FAILED, str(clear or f"{type(error).__name__}: {error}"), 1
        if clear is None:
            traceback.print_exc()
    except MemoryError:
        status, reason, code = (
            Status.FAILED,
            "out of memory: close other programs, or take a smaller model",
            1,
        )
    except KeyboardInterrupt:
        status, reason, code = Status.FAILED, "interrupted", 130
    except Exception as error:
        traceback.print_exc()
        status, reason, code = Status.FAILED, f"{type(error).__name__}: {error}", 1
    seconds = time.perf_counter() - begun
    with suppress(OSError):  # a full disk must not hide the reason
        write_json(
            layout.record(stage, key),
            {
                "stage": stage,
                "key": key,
                "status": status,
                "reason": reason,
                "started": started.isoformat(timespec="seconds"),
                "seconds": round(seconds, 3),
                "peak_rss_bytes": peak_rss_bytes(),
                "host": platform.node(),
                "python": platform.python_version(),
            },
        )
    if code:
        log.error("error: %s: %s", name, reason)
    elif status is Status.SKIPPED:
        log.info("%s: skipped: %s", name, reason)
    else:
        log.debug("%s: %.1f s", name, seconds)
    return code


def main(stage: str, group: str, step: Callable[[str, JSON], str | None]) -> int:
    """A stage's command line: one argument, the key of an entry in the plan's `group`."""
    parser = argparse.ArgumentParser(prog=f"python -m stages.{stage}")
    parser.add_argument("key", help=f"an entry of plan.{group} in params.yaml")
    key = parser.parse_args().key
    return run_stage(stage, key, lambda: step(key, entry(read_params(), group, key)))


def peak_rss_bytes() -> int | None:
    """Peak resident memory of this process so far, or None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def progress(label: str) -> Callable[[int, int], None]:
    """A bar on a terminal; without one, a plain line at most every ten seconds."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(desc=label, leave=False, unit="", file=sys.stderr)

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if done >= total:
                bar.close()

        return advance

    last = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            log.info("%s: %d of %d", label, done, total)

    return line
