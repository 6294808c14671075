"""ui: MLflow's pages of the results, opened at the runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

TITLES = {
    "cells": "the cells",
    "charts": "their charts",
    "sweeps": "runs of the whole matrix",
    "models": "what to ship, by model",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="where to serve; default 127.0.0.1")
    parser.add_argument("--port", "-p", type=int, default=5000, help="default 5000")
    parser.add_argument("--no-browser", action="store_true", help="print the links, open none")
    parser.add_argument("--json", action="store_true", help="the links as JSON")


def run(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from pipeline import layout
    from pipeline.harness.params import read_params
    from pipeline.strict import to_json
    from pipeline.tracking.ui import show

    def say(links: Mapping[str, str]) -> None:
        lines = "".join(f"{TITLES[name]}:\n  {address}\n" for name, address in links.items())
        sys.stdout.write(to_json(links) if arguments.json else f"{lines}Ctrl-C ends it.\n")
        sys.stdout.flush()

    experiment = str(read_params(layout.PARAMS)["track"]["experiment"])
    return show(Path(), experiment, (arguments.host, arguments.port), not arguments.no_browser, say)
