"""One module per command: `configure(parser)` and `run(arguments) -> exit code`."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.version import VERSION

ABOUT = "Phi models on devices: a matrix of model × precision × backend × target, as comparable packages."
COMMANDS = {
    "init": "make a project in an empty folder: conf/, data, stages and the shipped model",
    "plan": "show the matrix: its cells, and what is left out by which rule",
    "compose": "write params.yaml from conf/ and overrides",
    "repro": "compose, run what is missing, and report",
    "run": "the same with several stages at once, here or on other machines",
    "worker": "run stages for a sweep that another machine drives",
    "report": "write reports/ again and print the comparison",
    "recommend": "which package to ship to each target, and why the others lost",
    "gate": "exit with 1 when a required cell misses a gate",
    "ui": "open MLflow at the runs, with columns and charts chosen",
    "doctor": "which backends and targets are usable here, and what the others need",
    "benchmark": "measure a package on this device",
    "import-benchmark": "attach a speed that another device measured",
    "tasks": "lm-evaluation-harness on a package, with its figures attached to the cell",
    "verify": "hold a package against its manifest",
    "schema": "write schemas/: JSON Schemas of conf/ and of what --json prints",
    "completion": "print a shell's completion script",
}


def module_of(command: str) -> Any:
    """The module of a command."""
    return import_module(f"pipeline.commands.{command.replace('-', '_')}")


def called() -> str:
    """What the user typed before the command."""
    return "phi-deploy" if Path(sys.argv[0]).stem == "phi-deploy" else "python -m pipeline"


def parser(prog: str = "", whole: bool = False) -> argparse.ArgumentParser:
    """The parser with the commands' names, and with their options as well where the `whole` is wanted."""
    made = argparse.ArgumentParser(prog=prog or called(), description=ABOUT)
    made.add_argument("-V", "--version", action="version", version=f"phi-deploy {VERSION}")
    commands = made.add_subparsers(dest="command", metavar="command", required=True)
    for name, text in COMMANDS.items():
        own = commands.add_parser(name, help=text, description=text, add_help=whole)
        if whole:
            module_of(name).configure(own)
    return made
