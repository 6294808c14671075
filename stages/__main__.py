"""python -m stages STAGE [KEY]: the one door through which DVC runs a stage. KEY is an entry of the plan."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.harness.interpreter import check_python, hide
from pipeline.harness.stages import STAGES

ONCE = ("guard", "report", "track")  # without a key


def main() -> int:
    """Run one stage; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m stages", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("stage", choices=(*STAGES, *ONCE))
    parser.add_argument("key", nargs="?", default="")
    arguments = parser.parse_args()
    stage, key = arguments.stage, arguments.key
    if (stage in ONCE) == bool(key):
        parser.error(f"{stage} takes {'no key' if key else 'a key'}")
    if stage == "guard":  # before anything that another Python may lack
        try:
            check_python(Path())
        except PipelineError as error:
            sys.stderr.write(f"error: guard: {error}\n")
            return error.exit_code
    from pipeline.harness.run import run_stage

    return run_stage(stage, key, _work(stage, key))


def _work(stage: str, key: str) -> Callable[[], object]:
    if stage in STAGES:
        from pipeline.harness.run import run_entry

        for module in STAGES[stage].hides:
            hide(module)
        step = getattr(import_module(f"stages.{stage}.{stage}"), stage)
        return lambda: run_entry(STAGES[stage], key, step)
    if stage == "track":
        return _track
    if stage == "report":
        from pipeline.harness.inputs import read_plan_inputs
        from pipeline.reporting.report import write_report

        return lambda: write_report(read_plan_inputs())
    from stages.guard import guard

    return guard


def _track() -> None:
    """The last stage: deliver, and say what to ship; `dvc repro` and `dvc exp run` end with it."""
    from pipeline import layout
    from pipeline.reporting.console import SAID_BY, verdicts
    from pipeline.reporting.tables import read_cells
    from pipeline.tracking import track

    track(Path(), os.environ.get("MLFLOW_TRACKING_URI"))
    if not os.environ.get(SAID_BY):
        sys.stdout.write(f"\n{verdicts(read_cells(layout.CELLS))}")


if __name__ == "__main__":
    sys.exit(main())
