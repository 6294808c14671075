"""The commands, each imported when it is used: `phi-deploy COMMAND`, or `python -m pipeline COMMAND`."""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
from pathlib import Path

from pipeline.commands import COMMANDS, called, module_of, parser
from pipeline.errors import explain, suggest
from pipeline.terminal import paint
from pipeline.version import VERSION

ANYWHERE = ("init", "benchmark", "verify", "completion", "worker")  # there may be nothing but a package
MARK = Path("conf/config.yaml")


def main(argv: list[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and exit code 2."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help", "help"):
        parser().print_help()
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        sys.stdout.write(f"phi-deploy {VERSION}\n")
        return 0
    if words[0] not in COMMANDS:
        return _fail(f"unknown command '{words[0]}'; {suggest(words[0], COMMANDS)}", 2)
    gc.disable()  # short-lived: collecting garbage is a tenth of the time a command takes
    command = module_of(words[0])
    own = argparse.ArgumentParser(prog=f"{called()} {words[0]}", description=COMMANDS[words[0]])
    command.configure(own)
    arguments = own.parse_args(words[1:])
    if words[0] not in ANYWHERE:
        _enter_project(arguments, words)
    try:
        return int(command.run(arguments))
    except BrokenPipeError:
        return 0
    except BaseException as error:
        expected = explain(error)
        if expected is None:
            raise
        return _fail(*expected)


def _enter_project(arguments: argparse.Namespace, words: list[str]) -> None:
    """Run in the project's root, from wherever in it; paths that were given stay what they are.

    A project's stages run the code that it holds, and so do the commands in it, whatever is installed.
    """
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / MARK).is_file()), here)
    own = root / "pipeline/__main__.py"
    if own.is_file() and not own.samefile(__file__):
        sys.exit(_by(root, words))
    for name, value in vars(arguments).items():
        if isinstance(value, Path):
            setattr(arguments, name, here / value)
        elif isinstance(value, list) and value and isinstance(value[0], Path):
            setattr(arguments, name, [here / path for path in value])
    os.chdir(root)


def _by(root: Path, words: list[str]) -> int:
    """The command by a project's own code; on POSIX it takes this process's place."""
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    command, environment = [sys.executable, "-P", "-m", "pipeline", *words], {**os.environ, "PYTHONPATH": path}
    if os.name == "posix":
        sys.stdout.flush()
        os.execve(command[0], command, environment)
    return subprocess.run(command, env=environment).returncode


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"{paint('error:', 'red', sys.stderr)} {text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
