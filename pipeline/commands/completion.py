"""completion: the script that completes commands, options and paths in a shell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

PROG = "phi-deploy"
SHELLS = ("bash", "zsh", "tcsh")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-s", "--shell", choices=SHELLS, default=SHELLS[0], help="default: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    import shtab

    from pipeline.commands import parser

    whole = parser(PROG, whole=True)
    action: Any  # shtab reads an attribute that argparse does not have
    for action in _actions(whole):
        if action.type is Path:
            action.complete = shtab.FILE
    sys.stdout.write(shtab.complete(whole, shell=arguments.shell) + "\n")
    return 0


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Those of a parser and of its commands."""
    found = []
    for action in parser._actions:
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):
            found += [inner for own in action.choices.values() for inner in _actions(own)]
    return found
