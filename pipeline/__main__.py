"""python -m pipeline <command>: the table of commands, each imported when it is used."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from importlib import import_module
from pathlib import Path

from pipeline.errors import explain, suggest

COMMANDS = {
    "plan": "show the matrix: its cells, and what is left out by which rule",
    "compose": "write params.yaml from conf/ and overrides",
    "report": "write reports/ again and print the comparison",
    "recommend": "which package to ship to each target, and why the others lost",
    "gate": "exit with 1 when a required cell misses a gate",
    "doctor": "which backends and targets are usable here, and what the others need",
    "benchmark": "measure a package on this device",
    "import-benchmark": "attach a speed that another device measured",
    "verify": "hold a package against its manifest",
}

ANYWHERE = ("benchmark", "verify")  # on a device there is nothing but the package
MARK = Path("conf/config.yaml")


def main(argv: list[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and exit code 2."""
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__.partition(":")[2].strip())
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    if not words or words[0] in ("-h", "--help"):
        parser.print_help()
        return 0 if words else 2
    if words[0] not in COMMANDS:
        return _fail(f"unknown command '{words[0]}'; {suggest(words[0], COMMANDS)}", 2)
    gc.disable()  # short-lived: collecting garbage is a tenth of the time a command takes
    command = import_module(f"pipeline.commands.{words[0].replace('-', '_')}")
    own = argparse.ArgumentParser(prog=f"python -m pipeline {words[0]}", description=COMMANDS[words[0]])
    command.configure(own)
    arguments = own.parse_args(words[1:])
    if words[0] not in ANYWHERE:
        _enter_project(arguments)
    try:
        return int(command.run(arguments))
    except BrokenPipeError:
        return 0
    except BaseException as error:
        expected = explain(error)
        if expected is None:
            raise
        return _fail(*expected)


def _enter_project(arguments: argparse.Namespace) -> None:
    """Run in the project's root, from wherever in it; paths that were given stay what they are."""
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / MARK).is_file()), here)
    for name, value in vars(arguments).items():
        if isinstance(value, Path):
            setattr(arguments, name, here / value)
        elif isinstance(value, list) and value and isinstance(value[0], Path):
            setattr(arguments, name, [here / path for path in value])
    os.chdir(root)


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"error: {text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
