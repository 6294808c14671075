"""tasks: lm-evaluation-harness on a package, with its figures attached to the cell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", type=Path, metavar="PACKAGE", help="a folder that the pipeline packaged")
    parser.add_argument("--tasks", nargs="+", required=True, metavar="NAME", help="tasks of lm_eval")
    parser.add_argument("--num-fewshot", type=int, default=None, help="examples in the prompt (default: the task's)")
    parser.add_argument("--limit", type=int, default=0, help="documents of each task; 0 is all")
    parser.add_argument("--apply-chat-template", action="store_true", help="ask by the package's chat template")
    parser.add_argument("--include-path", type=Path, default=None, help="a folder with tasks of your own (YAML)")
    parser.add_argument("--mode", choices=("accuracy", "default"), default="accuracy", help="default: as users get it")
    parser.add_argument("--batch-size", type=int, default=1, help="sequences of one length at a time")
    parser.add_argument("--max-length", type=int, default=0, help="tokens of a window (default: 2048, or the context)")
    parser.add_argument("--json", action="store_true", help="the figures, as JSON")


def run(arguments: argparse.Namespace) -> int:
    from pipeline.backends.registry import load_backend
    from pipeline.errors import ConfigError
    from pipeline.harness.run import setup
    from pipeline.packaging.manifest import verify
    from pipeline.packaging.tasks_file import attach
    from pipeline.strict import to_json

    names = tuple(name for given in arguments.tasks for name in given.split(",") if name)
    low = [name for name in ("limit", "max_length") if getattr(arguments, name) < 0]
    if low or arguments.batch_size < 1:
        raise ConfigError(f"--{(low or ['batch-size'])[0].replace('_', '-')} is too small")
    if arguments.include_path is not None and not arguments.include_path.is_dir():
        raise ConfigError("there is no such folder", where=f"--include-path {arguments.include_path}")
    backend = verify(arguments.package)["cell"]["backend"]
    load_backend(backend).texts(arguments.package)  # what has none is told of before lm_eval is imported
    setup()
    from pipeline.lmeval.run import Asked, evaluate, lines

    asked = Asked(
        names,
        arguments.num_fewshot,
        arguments.limit,
        arguments.apply_chat_template,
        str(arguments.include_path or ""),
        arguments.mode,
        arguments.batch_size,
        arguments.max_length,
    )
    found = evaluate(arguments.package, asked)
    kept = attach(found)
    if arguments.json:
        sys.stdout.write(to_json(found))
        return 0
    for line in lines(found):
        sys.stdout.write(f"{found.cell}: {line}\n")
    sys.stdout.write("run: dvc repro\n" if kept else "not attached: no such package of this project's cells\n")
    return 0
