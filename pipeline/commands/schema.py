"""schema: JSON Schemas of conf/, of what `--json` prints and of the report's rows, into schemas/."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pipeline.types import JSON

FOLDER = Path("schemas")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="write nothing: fail when a schema is not up to date")
    parser.add_argument("--json", action="store_true", help="print them all, by their file names")


def run(arguments: argparse.Namespace) -> int:
    from pipeline.errors import ConfigError
    from pipeline.files import write_text
    from pipeline.strict import to_json

    made = schemas()
    if arguments.json:
        sys.stdout.write(to_json(made))
        return 0
    texts = {FOLDER / name: to_json(body) for name, body in made.items()}
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if arguments.check and stale:
        where = ", ".join(path.as_posix() for path in stale)
        raise ConfigError("not what the code and conf/ say", where=where, hint="run: python -m pipeline schema")
    for path in () if arguments.check else stale:
        write_text(path, texts[path])
    said = "up to date" if arguments.check or not stale else f"{len(stale)} written"
    sys.stdout.write(f"{FOLDER.as_posix()}/: {len(texts)} schemas, {said}\n")
    return 0


def schemas(root: Path = Path()) -> dict[str, JSON]:
    """File name → schema."""
    from pipeline import answers, found, planned, records, rows
    from pipeline.commands.compose import Composed
    from pipeline.commands.gate import Gated
    from pipeline.commands.verify import Verified
    from pipeline.json_schema import document, schema_of
    from pipeline.matrix.conf_schema import conf_schemas
    from pipeline.reporting.choice import Choice

    printed: dict[str, tuple[Any, str]] = {
        "plan": (planned.Plan, "plan --json"),
        "compose": (Composed, "compose --json"),
        "cells": (tuple[rows.Row, ...], "reports/cells.json, report --json and repro --json"),
        "recommend": (tuple[Choice, ...], "recommend --json"),
        "gate": (Gated, "gate --json"),
        "verify": (tuple[Verified, ...], "verify --json"),
        "benchmark-file": (records.BenchmarkFile, "what benchmark PACKAGE writes"),
        "evaluation": (records.Evaluation, "artifacts/evaluations/<build>.json"),
        "tasks": (answers.HarnessFile, "tasks --json"),
        "packaged": (records.Packaged, "artifacts/packaged/<cell>.json"),
        "fit": (found.Fit, "artifacts/fits/<build>.json"),
        "benchmark": (records.Benchmark, "artifacts/benchmarks/<cell>.json"),
        "stage-record": (records.StageRecord, "records/<stage>/<key>.json"),
    }
    made = {}
    for name, (kind, title) in printed.items():
        defs: dict[str, Any] = {}
        body = schema_of(kind, defs)
        made[f"{name}.json"] = document(title, body, defs)
    return {**made, **conf_schemas(root)}
