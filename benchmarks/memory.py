"""Peak memory and time of fetch, convert and quantize on a checkpoint, per backend and precision.

    python benchmarks/make_checkpoint.py phi-3.5-mini /data/phi-3.5-mini
    python benchmarks/memory.py /data/phi-3.5-mini --cells int4:onnxruntime > benchmarks/results/memory.json

`anon` is the sum of RssAnon over the process tree: memory that the kernel cannot give back, as mapped file pages
are. The stages run as DVC runs them, one after the other, in a temporary project beside --work.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.workspace import copy_project  # noqa: E402
from pipeline.checkpoint import read_headers  # noqa: E402
from pipeline.host import machine_facts  # noqa: E402
from pipeline.metrics.memory import TreeWatch  # noqa: E402

TARGETS = {"mlx": "apple-silicon"}
# settings that finish at full size
FEW: tuple[str, ...] = (
    *("evaluate.window=64", "evaluate.tokens=256", "evaluate.slow_tokens=64", "evaluate.questions=''"),
    *("evaluate.decode_prompts=1", "evaluate.decode_tokens=8", "benchmark.runs=1", "benchmark.warmup=0"),
    *("benchmark.prompt_tokens=32", "benchmark.new_tokens=16"),
)


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(command: Sequence[str], root: Path) -> dict[str, float]:
    """One command in the project at `root`, measured; a failure is its last line."""
    begun, before = time.perf_counter(), os.times()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(root)}
    with (
        subprocess.Popen(
            command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as child,
        TreeWatch(child.pid) as tree,
    ):
        said = child.communicate()[0]
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}: {(said.strip().splitlines() or ['no message'])[-1]}")
    used = os.times()
    return {
        "wall_s": round(time.perf_counter() - begun, 1),
        "cpu_s": round(used.children_user + used.children_system - before.children_user - before.children_system, 1),
        "peak_anon_mb": round(tree.peak_anon_bytes / 1e6),
        "peak_rss_mb": round(tree.peak_rss_bytes / 1e6),
    }


def stage(root: Path, name: str, key: str) -> dict[str, float]:
    return run([sys.executable, "-m", f"stages.{name}", key], root)


def compose(root: Path, checkpoint: Path, precision: str, backend: str, more: Sequence[str] = ()) -> tuple[str, str]:
    """The names of the export and the build of one cell, composed and guarded."""
    overrides = [
        "model=[local]",
        f"model.local.path={checkpoint}",
        f"precision=[{precision}]",
        f"backend=[{backend}]",
        f"target=[{TARGETS.get(backend, 'cpu')}]",
        *more,
    ]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "pipeline", "compose", *overrides]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    plan = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))["plan"]
    (export,), (build,) = plan["exports"], plan["builds"]
    subprocess.run([sys.executable, "-m", "stages.guard"], cwd=root, env=environment, check=True, capture_output=True)
    return export, build


def measure(root: Path, checkpoint: Path, precision: str, backend: str, whole: bool = False) -> dict[str, Any]:
    """The stages of one build, and what it and its export take on disk; `whole`: also its quality and speed."""
    export, build = compose(root, checkpoint, precision, backend, FEW if whole else ())
    names = {"fetch": "local", "convert": export, "quantize": build}
    cell = f"{build}_{TARGETS.get(backend, 'cpu')}"
    if whole:
        names |= {"reference": "local", "evaluate": build, "package": cell, "benchmark": cell}
    stages = {name: stage(root, name, key) for name, key in names.items()}
    figures: dict[str, Any] = {}
    if whole:
        for name, key in (("evaluations", build), ("benchmarks", cell)):
            content = json.loads((root / "artifacts" / name / f"{key}.json").read_text(encoding="utf-8"))
            figures |= content.get("metrics", {})
    sizes = {
        "export": written(root / "artifacts/exports" / export),
        "build": written(root / "artifacts/builds" / build),
    }
    shutil.rmtree(root / "artifacts")
    return {
        "stages": stages,
        **({"metrics": figures} if figures else {}),
        "peak_anon_mb": max(measured["peak_anon_mb"] for measured in stages.values()),
        "disk_mb": {name: round(size / 1e6) for name, size in sizes.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Peak memory of conversion and quantization.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--cells", nargs="+", default=["int4:onnxruntime"], metavar="PRECISION:BACKEND")
    parser.add_argument("--work", type=Path, default=None, help="a folder on a disk with room (default: beside it)")
    parser.add_argument("--whole", action="store_true", help="go on to evaluate, package and benchmark, on few tokens")
    arguments = parser.parse_args()
    checkpoint = arguments.checkpoint.resolve()
    tensors = read_headers(checkpoint).values()
    sizes = [tensor.size for tensor in tensors]
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    result: dict[str, Any] = {
        "machine": machine_facts(),
        "checkpoint": {
            "name": checkpoint.name,
            "layers": config["num_hidden_layers"],
            "gb": round(sum(sizes) / 1e9, 2),
            "largest_tensor_fp32_mb": round(2 * max(sizes) / 1e6),
        },
        "cells": {},
    }
    for cell in arguments.cells:
        precision, _, backend = cell.partition(":")
        with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-", dir=arguments.work or checkpoint.parent) as folder:
            root = Path(folder)
            copy_project(root)
            result["cells"][cell] = measure(root, checkpoint, precision, backend, arguments.whole)
        sys.stderr.write(f"{cell}: {json.dumps(result['cells'][cell])}\n")
    sys.stdout.write(json.dumps([result], indent=2) + "\n")  # a list: several checkpoints make one page
    return 0


if __name__ == "__main__":
    sys.exit(main())
