"""python -m stages STAGE [KEY]: the one door through which DVC runs a stage. KEY is an entry of the plan."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.harness.interpreter import check_python, hide

GROUPS = {
    "fetch": "models",
    "reference": "models",
    "convert": "exports",
    "quantize": "builds",
    "evaluate": "builds",
    "package": "cells",
    "benchmark": "cells",
}
# Evaluation is the runtime's alone. mlx-lm imports transformers, which would import torch wherever it is installed.
HIDDEN = {"evaluate": ("torch",)}


def main() -> int:
    """Run one stage; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m stages", description=__doc__)
    parser.add_argument("stage", choices=(*GROUPS, "guard", "report", "track"))
    parser.add_argument("key", nargs="?", default="")
    arguments = parser.parse_args()
    if arguments.stage == "guard":  # before anything that another Python may lack
        try:
            check_python(Path())
        except PipelineError as error:
            sys.stderr.write(f"error: guard: {error}\n")
            return error.exit_code
    for module in HIDDEN.get(arguments.stage, ()):
        hide(module)
    from pipeline.harness.run import run_stage

    return run_stage(arguments.stage, arguments.key, _work(arguments.stage, arguments.key))


def _work(stage: str, key: str) -> Callable[[], str | None]:
    if stage in GROUPS:
        from pipeline.harness.params import entry, read_params

        step = getattr(import_module(f"stages.{stage}.{stage}"), stage)
        return lambda: step(key, entry(read_params(), GROUPS[stage], key))
    if stage == "track":
        from pipeline.tracking import track

        return partial(_silent, lambda: track(Path(), os.environ.get("MLFLOW_TRACKING_URI")))
    if stage == "report":
        from pipeline.harness.params import read_params
        from pipeline.reporting.report import write_report

        return partial(_silent, lambda: write_report(read_params()))
    from stages.guard import guard

    return guard


def _silent(work: Callable[[], object]) -> None:
    work()


if __name__ == "__main__":
    sys.exit(main())
