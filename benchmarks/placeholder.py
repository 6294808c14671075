"""A project whose stages do nothing but leave a small result: real plans, DVC and engine, no tools.

Each result says `skipped`, so that a report of it can be written. `slow.json` in the project's root says which stages
take how many seconds ({"quantize@": 2}), `failing.json` which fail ([names]).
"""

from __future__ import annotations

import shutil
from pathlib import Path

STAGES = '''"""Placeholders: see benchmarks/placeholder.py."""

import hashlib
import json
import sys
import time
from pathlib import Path

from pipeline import layout
from pipeline.errors import ToolError
from pipeline.files import fresh_folder, write_bytes, write_json
from pipeline.harness.stages import STAGES


def said(name, default):
    path = Path(name)
    return json.loads(path.read_text()) if path.is_file() else default


def work(stage, key):
    name = f"{stage}@{key}"
    time.sleep(sum(seconds for start, seconds in said("slow.json", {}).items() if name.startswith(start)))
    if name in said("failing.json", []):
        raise ToolError(f"{name} was told to")
    inputs = layout.inputs(stage, key).read_bytes()
    result = {"status": "skipped", "reason": "placeholder", "of": hashlib.md5(inputs).hexdigest()}
    for out in STAGES[stage].outs(key):
        if out.suffix == ".json":
            write_json(out, result)
        elif out.suffix:
            write_bytes(out, inputs)
        else:
            with fresh_folder(out) as folder:
                write_json(folder / layout.MANIFEST, result)


def main():
    stage, key = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    from pipeline.harness.run import run_stage

    if stage == "guard":
        from stages.guard import guard

        return run_stage(stage, key, guard)
    if stage == "report":
        from pipeline.harness.inputs import read_plan_inputs
        from pipeline.reporting.report import write_report

        return run_stage(stage, key, lambda: write_report(read_plan_inputs()))
    return run_stage(stage, key, (lambda: work(stage, key)) if key else (lambda: None))


if __name__ == "__main__":
    sys.exit(main())
'''


def make_placeholders(root: Path) -> None:
    """Put placeholders in the place of a project's stages; guard and report stay what they are."""
    (root / "stages/__main__.py").write_text(STAGES, encoding="utf-8")


def add_models(root: Path, count: int) -> list[str]:
    """So many model options of one folder, models/tiny; their names."""
    names = [f"m{number:03}" for number in range(1, count + 1)]
    for name in names:
        (root / f"conf/model/{name}.yaml").write_text(f"{name}:\n  path: models/tiny\n", encoding="utf-8")
    return names


def forget(root: Path, cache: bool = True) -> None:
    """Take away all results, and what DVC knows of them; with `cache`, what it keeps as well."""
    gone = ["artifacts", "packages", "reports", "records", "inputs", "host", *([".dvc/cache"] if cache else [])]
    for name in gone:
        shutil.rmtree(root / name, ignore_errors=True)
    for lock in (root / "dvc.lock", *(root / "stages").glob("*/dvc.lock")):
        lock.unlink(missing_ok=True)
