"""Wall and CPU time of a suite, cold and with nothing to do, and the share that is not the tools' own work.

    python benchmarks/orchestration.py [--suite default] [--repeat 3] > benchmarks/results/orchestration.json

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

from pipeline.host import machine_facts  # noqa: E402

COPIED = ("conf", "hydra_plugins", "pipeline", "stages", "models", "data", "dvc.yaml", ".dvcignore", "pyproject.toml")


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
    for path in sorted((root / "records").rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        seconds[record["stage"]] = round(seconds.get(record["stage"], 0.0) + record["seconds"], 3)
    return seconds


def measure(suite: str, repeat: int) -> dict[str, object]:
    """One cold run, then `repeat` runs with nothing to do; medians of the latter."""
    with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-") as folder:
        root = Path(folder) / "project"
        root.mkdir()
        for name in COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            copy(source, root / name)
        python = [sys.executable, "-m"]
        for command in (["git", "init", "-q"], [*python, "dvc", "init", "-q"]):
            timed(command, root)
        shutil.copyfile(ROOT / ".dvc" / "config", root / ".dvc" / "config")
        compose = timed([*python, "pipeline", "compose", f"suite={suite}"], root)
        cold = timed([*python, "dvc", "repro"], root)
        work = stage_seconds(root)
        idle = [timed([*python, "dvc", "repro"], root) for _ in range(repeat)]
        startup = [timed([*python, "pipeline.runtime"], root)["wall_s"] for _ in range(repeat)]
    stages = cold["stages_run"]
    in_work, start = sum(work.values()), median(startup) * stages
    rest = max(0.0, cold["wall_s"] - in_work - start)
    return {
        "suite": suite,
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
        "nothing_to_do": {name: median(run[name] for run in idle) for name in ("wall_s", "cpu_s", "stages_run")},
        "repeat": repeat,
    }


def main() -> None:
    """Print the measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="default")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    sys.stdout.write(json.dumps(measure(arguments.suite, arguments.repeat), indent=2) + "\n")


if __name__ == "__main__":
    main()
