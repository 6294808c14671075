"""Wall and CPU time of a suite, cold and with nothing to do, and the share that is not the tools' own work.

    python benchmarks/orchestration.py [--suite default] [--repeat 3] > benchmarks/results/orchestration.json
    python benchmarks/orchestration.py --cells 25 100 > benchmarks/results/scale.json

With --cells the matrix is made of one-layer models in five precisions on ONNX Runtime: little work, so that what
DVC and the stages' processes cost is seen.

Runs in a temporary copy of the project, so that the workspace's results stay. `work` is the time the stages
report for themselves (records/); `stage_startup` is what the stage processes took beside that: the interpreter
and imports before the work; the rest is DVC's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.workspace import copy_project  # noqa: E402
from pipeline.harness.host import machine_facts  # noqa: E402

PRECISIONS = ("fp32", "fp16", "int8", "int4", "int4-rtn")


def timed(command: list[str], cwd: Path) -> dict[str, float]:
    """Wall seconds and CPU seconds (children included) of a command that must succeed."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "stages_run": done.stdout.count("Running stage '")}


def stage_seconds(root: Path) -> dict[str, float]:
    """Seconds of work per stage kind, from the records that the stages leave."""
    seconds: dict[str, float] = {}
    for path in sorted((root / "records").glob("*/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        seconds[record["stage"]] = round(seconds.get(record["stage"], 0.0) + record["seconds"], 3)
    return seconds


def of_size(root: Path, cells: int) -> list[str]:
    """Overrides of a matrix of that many cells, with its models written."""
    from tests.support.tiny import write_checkpoint

    names = [f"m{number:03}" for number in range(1, cells // len(PRECISIONS) + 1)]
    for seed, name in enumerate(names):
        write_checkpoint(root / "models" / name, seed)
        (root / "conf/model" / f"{name}.yaml").write_text(f"{name}:\n  path: models/{name}\n", encoding="utf-8")
    few = ["evaluate.window=32", "evaluate.tokens=64", "evaluate.questions=''", "benchmark.runs=1"]
    few += ["benchmark.warmup=0", "benchmark.new_tokens=4", "benchmark.prompt_tokens=8", "evaluate.decode_prompts=1"]
    matrix = [f"model=[{','.join(names)}]", f"precision=[{','.join(PRECISIONS)}]", "backend=[onnxruntime]"]
    return [*matrix, "target=[cpu]", *few]


def measure(suite: str, repeat: int, cells: int = 0) -> dict[str, object]:
    """One cold run, then `repeat` runs with nothing to do; medians of the latter."""
    with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-") as folder:
        root = Path(folder) / "project"
        copy_project(root)
        python = [sys.executable, "-m"]
        for command in (["git", "init", "-q"], [*python, "dvc", "init", "-q"]):
            timed(command, root)
        shutil.copyfile(ROOT / ".dvc" / "config", root / ".dvc" / "config")
        overrides = of_size(root, cells) if cells else [f"suite={suite}"]
        compose = timed([*python, "pipeline", "compose", *overrides], root)
        cold = timed([*python, "dvc", "repro"], root)
        work = stage_seconds(root)
        idle = [timed([*python, "dvc", "repro"], root) for _ in range(repeat)]
        startup = [timed([*python, "pipeline.harness.run"], root)["wall_s"] for _ in range(repeat)]
    stages = cold["stages_run"]
    in_work, start = sum(work.values()), median(startup) * stages
    rest = max(0.0, cold["wall_s"] - in_work - start)
    return {
        **({"cells": cells} if cells else {"suite": suite}),
        "machine": machine_facts(),
        "python": platform.python_version(),
        "compose": compose,
        "cold": {
            **cold,
            "work_s": round(in_work, 2),
            "stage_startup_s": round(start, 2),
            "dvc_s": round(rest, 2),
            "share_not_work": round((start + rest) / cold["wall_s"], 3),
            "work_s_by_stage": work,
        },
        "per_stage_ms": round(1000 * (start + rest) / stages),
        "nothing_to_do": {name: median(run[name] for run in idle) for name in ("wall_s", "cpu_s", "stages_run")},
        "repeat": repeat,
    }


def main() -> None:
    """Print the measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="default")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--cells", type=int, nargs="+", default=[], help="sizes of a made-up matrix, in place of a suite"
    )
    arguments = parser.parse_args()
    if arguments.cells:
        result: object = [measure("", arguments.repeat, cells) for cells in arguments.cells]
    else:
        result = measure(arguments.suite, arguments.repeat)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
