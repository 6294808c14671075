"""Peak memory, time and disk of every stage on a checkpoint, per backend and precision.

    python benchmarks/make_checkpoint.py phi-3.5-mini /data/phi-3.5-mini
    python benchmarks/memory.py /data/phi-3.5-mini --cells int4-plain:onnxruntime fp16:mlx \
        --into benchmarks/results/memory.json
    python benchmarks/memory.py /data/phi-3.5-vision --modality vision --answer --cells int4-plain:onnxruntime \
        --into benchmarks/results/memory_multimodal.json

`anon` is the sum of RssAnon over the process tree: memory that the kernel cannot give back, as mapped file pages
are. The stages run as DVC runs them, one after the other, in a temporary project; fetch and reference once for all
cells. With --limit-gb each stage runs in a memory cgroup of that size, page cache included: for who may make one.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.workspace import copy_project  # noqa: E402
from pipeline.backends.process import TreeWatch  # noqa: E402
from pipeline.harness.host import machine_facts  # noqa: E402
from pipeline.harness.params import read_templates  # noqa: E402
from pipeline.model.checkpoint import read_headers  # noqa: E402

ANSWER = str(ROOT / "benchmarks" / "answer.py")
TARGETS = {"mlx": "apple-silicon"}
SHARED = ("fetch", "reference")
ASKED = {"vision": "pictures", "speech": "sounds"}  # a model's field that names its questions
BUILDING = ("fetch", "convert", "quantize")
MADE = (*BUILDING, "package")
WAYS = {  # how far a cell goes
    "build": BUILDING,
    "answer": (*BUILDING, "answer", "package"),  # one token to a picture in place of an evaluation
    "whole": ("fetch", "reference", "convert", "quantize", "evaluate", "package", "benchmark"),
}
# settings that finish at full size
FEW: tuple[str, ...] = (
    *("evaluate.window=64", "evaluate.tokens=256", "evaluate.slow_tokens=64", "evaluate.questions=''"),
    *("evaluate.decode_prompts=1", "evaluate.decode_tokens=8", "benchmark.runs=1", "benchmark.warmup=0"),
    *("benchmark.prompt_tokens=32", "benchmark.new_tokens=16"),
)
ONE: tuple[str, ...] = (  # a question on a picture or sound, of hundreds of tokens
    *("evaluate.max_questions=1", "evaluate.decode_prompts=1", "evaluate.decode_tokens=8"),
    *("benchmark.runs=1", "benchmark.warmup=0", "benchmark.new_tokens=16"),
)


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(command: Sequence[str], root: Path, group: Path | None = None) -> dict[str, float]:
    """One command in the project at `root`, measured; a failure is its last line. `group`: in that cgroup."""
    begun, before = time.perf_counter(), os.times()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(root)}
    inside = ["sh", "-c", f'echo $$ > "{group}/cgroup.procs" && exec "$@"', "sh"] if group else []
    with (
        subprocess.Popen(
            [*inside, *command], cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as child,
        TreeWatch(child.pid) as tree,
    ):
        said = child.communicate()[0]
    if child.returncode:
        last = (said.strip().splitlines() or ["no message"])[-1]
        raise SystemExit(f"{' '.join(command)}: exit {child.returncode}: {last}")
    used = os.times()
    return {
        "wall_s": round(time.perf_counter() - begun, 1),
        "cpu_s": round(used.children_user + used.children_system - before.children_user - before.children_system, 1),
        "peak_anon_mb": round(tree.peak_anon_bytes / 1e6),
        "peak_rss_mb": round(tree.peak_rss_bytes / 1e6),
    }


@contextmanager
def memory_group(gigabytes: float) -> Iterator[Path]:
    """A memory cgroup of that size (v2 or v1). Ends with what is missing where none can be made."""
    base = Path("/sys/fs/cgroup")
    version_1 = (base / "memory").is_dir()
    group = (base / "memory" if version_1 else base) / f"phi-deploy-{os.getpid()}"
    try:
        group.mkdir()
        limit = "memory.limit_in_bytes" if version_1 else "memory.max"
        (group / limit).write_text(str(int(gigabytes * 1e9)), encoding="ascii")
    except OSError as error:
        raise SystemExit(f"--limit-gb: no memory cgroup can be made here: {error}") from None
    try:
        yield group
    finally:
        group.rmdir()


def stage(root: Path, name: str, key: str, group: Path | None = None) -> dict[str, float]:
    return run([sys.executable, "-m", "stages", name, key], root, group)


def few(modality: str) -> tuple[str, ...]:
    """What is set beside the cell."""
    if not modality:
        return FEW
    asked = f"model.local.{ASKED[modality]}=data/{ASKED[modality]}/evaluation.jsonl"
    return (*ONE, f"model.local.modality={modality}", asked)


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
    plan = read_templates(root)
    (export,), (build,) = plan["exports"], plan["builds"]
    subprocess.run(
        [sys.executable, "-m", "stages", "guard"], cwd=root, env=environment, check=True, capture_output=True
    )
    return export, build


def measure(
    root: Path,
    checkpoint: Path,
    precision: str,
    backend: str,
    way: str = "build",
    group: Path | None = None,
    modality: str = "",
) -> dict[str, Any]:
    """The stages of one cell as far as `way` of WAYS goes, and what its files take on disk.

    `peak_anon_mb` is that of fetch, convert, quantize and package; what evaluating and running take stands beside it.
    """
    export, build = compose(root, checkpoint, precision, backend, few(modality))
    cell = f"{build}_{TARGETS.get(backend, 'cpu')}"
    keys = {"fetch": "local", "reference": "local", "convert": export, "package": cell, "benchmark": cell}
    stages = {}
    for name in WAYS[way]:
        key = keys.get(name, build)
        shared = root / "artifacts" / {"fetch": "models", "reference": "references"}.get(name, "none") / key
        if name == "answer":
            rows = f"data/{ASKED[modality]}/evaluation.jsonl"
            stages[name] = run([sys.executable, ANSWER, "local", build, backend, rows], root, group)
        elif not shared.exists():
            stages[name] = stage(root, name, key, group)
        if name in stages:
            sys.stderr.write(f"{name}@{key}: {json.dumps(stages[name])}\n")
    figures: dict[str, Any] = {}
    for name, key in (("evaluations", build), ("benchmarks", cell)) if way == "whole" else ():
        content = json.loads((root / "artifacts" / name / f"{key}.json").read_text(encoding="utf-8"))
        figures |= {**content.get("metrics", {}), **({"skipped": content["reason"]} if content["reason"] else {})}
    folders = {"export": root / "artifacts/exports" / export, "build": root / "artifacts/builds" / build}
    folders["package"] = root / "packages" / cell
    sizes = {name: written(folder) for name, folder in folders.items()}
    if modality:
        sizes["tower"] = written(root / "artifacts/models/local" / modality)
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "stages": stages,
        **({"metrics": figures} if figures else {}),
        "peak_anon_mb": max(measured["peak_anon_mb"] for name, measured in stages.items() if name in MADE),
        "disk_mb": {name: round(size / 1e6) for name, size in sizes.items()},
    }


def described(checkpoint: Path) -> dict[str, Any]:
    """Name, layers, size and largest tensor."""
    sizes = [tensor.size for tensor in read_headers(checkpoint).values()]
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    return {
        "name": checkpoint.name,
        "layers": config["num_hidden_layers"],
        "gb": round(sum(sizes) / 1e9, 2),
        "largest_tensor_fp32_mb": round(2 * max(sizes) / 1e6),
    }


def put(path: Path, result: dict[str, Any]) -> None:
    """Into the list of the file: cells join those of the same checkpoint, modality, machine and limit."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    one = ("machine", "checkpoint", "modality", "limit_gb")
    same = [entry for entry in found if all(entry.get(key) == result.get(key) for key in one)]
    if same:
        same[0]["shared"] |= result["shared"]
        same[0]["cells"] |= result["cells"]
    else:
        found.append(result)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Peak memory of every stage.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--cells", nargs="+", default=["int4-plain:onnxruntime"], metavar="PRECISION:BACKEND")
    parser.add_argument("--work", type=Path, default=None, help="a folder on a disk with room (default: beside it)")
    parser.add_argument("--modality", choices=ASKED, default="", help="of a checkpoint that sees or hears")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--build-only", action="store_true", help="stop before evaluate, package and benchmark")
    ways.add_argument("--answer", action="store_true", help="one token to a picture or sound, then package")
    parser.add_argument("--limit-gb", type=float, default=0, help="run every stage in a memory cgroup of that size")
    parser.add_argument("--into", type=Path, required=True, help="the JSON file that the results are put into")
    arguments = parser.parse_args()
    if arguments.answer and not arguments.modality:
        parser.error("--answer needs --modality")
    way = "build" if arguments.build_only else "answer" if arguments.answer else "whole"
    checkpoint = arguments.checkpoint.resolve()
    about = {"machine": machine_facts(), "checkpoint": described(checkpoint), "limit_gb": arguments.limit_gb}
    about |= {"modality": arguments.modality} if arguments.modality else {}
    with (
        tempfile.TemporaryDirectory(prefix="phi-deploy-bench-", dir=arguments.work or checkpoint.parent) as folder,
        memory_group(arguments.limit_gb) if arguments.limit_gb else nullcontext() as group,
    ):
        root = Path(folder)
        copy_project(root)
        for cell in arguments.cells:
            precision, _, backend = cell.partition(":")
            found = measure(root, checkpoint, precision, backend, way, group, arguments.modality)
            shared = {name: found["stages"].pop(name) for name in SHARED if name in found["stages"]}
            put(arguments.into, {**about, "shared": shared, "cells": {cell: found}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
