"""Ours against each tool's own command line: the same conversion of the same checkpoint, in the same run.

    python benchmarks/make_checkpoint.py phi-3.5-mini /data/phi-3.5-4-layers --layers 4
    python benchmarks/compare_tools.py /data/phi-3.5-4-layers --llama-cpp ~/llama.cpp \
        --optimum-cli ~/optimum/bin/optimum-cli > benchmarks/results/compare_tools.json

Ours is `convert` and `quantize` as DVC runs them; theirs the command under `command`. Ratios are ours over theirs, of
the medians of --runs runs, which alternate: below 1 is less time, or less memory.

`streamed` says which way ours went. Where the input form takes more than 0.5 GB, as with every real model, no export
is written and `quantize` reads the checkpoint; below, an export is written for all builds to share. `tensors` says how
many of both packages have the same bytes: all, or the two did different work.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.contents import tensors  # noqa: E402
from benchmarks.memory import compose, run, stage  # noqa: E402
from benchmarks.tools import RECIPES, Tools, add_arguments, commands, package, shown, why_missing  # noqa: E402
from benchmarks.workspace import copy_project  # noqa: E402
from pipeline.harness.host import machine_facts  # noqa: E402


def together(steps: list[dict[str, float]]) -> dict[str, float]:
    """One conversion out of its steps: times add up, of memory the largest counts."""
    return {
        "wall_s": sum(step["wall_s"] for step in steps),
        "cpu_s": sum(step["cpu_s"] for step in steps),
        "peak_anon_mb": max(step["peak_anon_mb"] for step in steps),
    }


def size_mb(folder: Path, pattern: str = "*") -> int:
    """Megabytes of a folder's files."""
    return round(sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file()) / 1e6)


def ours(backend: str, checkpoint: Path, root: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """What one conversion of ours takes, and what it came to."""
    copy_project(root)
    export, build = compose(root, checkpoint, RECIPES[backend], backend)
    stage(root, "fetch", "local")
    taken = together([stage(root, "convert", export), stage(root, "quantize", build)])
    manifest = json.loads((root / f"artifacts/exports/{export}/manifest.json").read_text(encoding="utf-8"))
    folder = root / "artifacts/builds" / build
    facts = {"mb": size_mb(folder), "tensors": tensors(backend, folder)}
    return taken, {"streamed": bool(manifest.get("deferred")), **facts}


def compare(backend: str, checkpoint: Path, work: Path, runs: int, tools: Tools) -> dict[str, Any]:
    """Medians of both sides in turn, and their ratios; or why there are none."""
    missing = why_missing(backend, tools)
    if missing:
        return {"recipe": RECIPES[backend], "skipped": missing}
    results: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    facts: dict[str, Any] = {}
    lines: list[str] = []
    theirs: Counter[str] = Counter()
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-", dir=work) as folder:
            taken, facts = ours(backend, checkpoint, Path(folder))
            results["ours"].append(taken)
        with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-", dir=work) as folder:
            other = commands(backend, checkpoint, Path(folder), tools)
            lines = [
                shown(command, tools).replace(f"{folder}", "OUT").replace(f"{checkpoint}", checkpoint.name)
                for command in other
            ]
            results["theirs"].append(together([run(command, Path(folder)) for command in other]))
            (Path(folder) / "whole.gguf").unlink(missing_ok=True)
            facts["mb_theirs"] = size_mb(package(backend, Path(folder)))
            theirs = tensors(backend, package(backend, Path(folder)))
    middle = {who: {key: median(run[key] for run in all_) for key in all_[0]} for who, all_ in results.items()}
    return {
        "recipe": RECIPES[backend],
        "streamed": facts["streamed"],
        "command": lines,
        **{who: {key: round(value, 1) for key, value in figures.items()} for who, figures in middle.items()},
        "ratio": {key: round(middle["ours"][key] / middle["theirs"][key], 3) for key in middle["ours"]},
        "package_mb": {"ours": facts["mb"], "theirs": facts["mb_theirs"]},
        "tensors": {
            "same": (facts["tensors"] & theirs).total(),
            "ours": facts["tensors"].total(),
            "theirs": theirs.total(),
        },
        "runs": runs,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Ours against the tools' own command lines.")
    add_arguments(parser)
    arguments = parser.parse_args()
    checkpoint = arguments.checkpoint.resolve()
    result: dict[str, Any] = {"machine": machine_facts(), "checkpoint": checkpoint.name, "backends": {}}
    for backend in arguments.backends:
        work = arguments.work or checkpoint.parent
        result["backends"][backend] = compare(backend, checkpoint, work, arguments.runs, Tools.of(arguments))
        sys.stderr.write(f"{backend}: {json.dumps(result['backends'][backend])}\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
