"""run: what `repro` does, with as many stages at once as the machine has room for."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout

INTERRUPTED = 130


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="as Hydra takes them; none: params.yaml as it is")
    parser.add_argument(
        "-j", "--jobs", type=int, default=0, metavar="N", help="stages at once (default: what cores and memory allow)"
    )
    parser.add_argument("--dashboard", action="store_true", help="Dask's page, with what runs and how long each took")
    parser.add_argument("--json", action="store_true", help="print reports/cells.json instead of the table")


def run(arguments: argparse.Namespace) -> int:
    import gc

    from pipeline.commands import compose, report
    from pipeline.errors import ConfigError

    gc.enable()  # a long run
    if arguments.jobs < 0:
        raise ConfigError(f"-j {arguments.jobs} is no number of stages")
    with redirect_stdout(sys.stderr):
        if arguments.overrides:
            compose.run(argparse.Namespace(overrides=arguments.overrides, check=False, json=False))
        else:
            compose.set_aside_broken_locks()
    from pipeline.engine.driver import drive

    code = drive(arguments.jobs, arguments.dashboard)
    if code == INTERRUPTED:
        return code
    told = report.run(argparse.Namespace(json=arguments.json, fill=None, compare=None))
    return told or code
