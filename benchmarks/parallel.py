"""One stage after another against several at once, on placeholder stages: what DVC and the engine cost, by size.

    python benchmarks/parallel.py --cells 25 100 > benchmarks/results/parallel.json
    python benchmarks/parallel.py --swept 100 500 2000 > benchmarks/results/parallel-swept.json
    python benchmarks/parallel.py --seeded 500 > benchmarks/results/parallel-seeded.json

Stages do nothing but leave a small file (benchmarks/placeholder.py), so that the rest is seen. --swept runs the
engine alone, cold and idle: an hour for 2,000 cells on two cores. --seeded makes the
results and lock files of so many cells in one process, and measures what a run with nothing to do takes. CPU seconds
are those to look at on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.orchestration import PRECISIONS, timed  # noqa: E402
from benchmarks.placeholder import add_models, forget, make_placeholders  # noqa: E402
from pipeline.harness.host import machine_facts  # noqa: E402

SEED = """
import sys, time
from pathlib import Path
from pipeline.engine.jobs import jobs_of
from pipeline.engine.lean import empty_memory
from pipeline.engine.workspace import Workspace, entry_of
from pipeline.harness.params import read_templates
from dvc.repo import lock_repo
from stages.__main__ import work
space, jobs, entries = Workspace(Path.cwd()), jobs_of(read_templates()), {}
with lock_repo(space.repo):
    for job in jobs.values():
        work(job.stage, job.key)
        stage = space.stage(job)
        stage.save(run_cache=False)
        stage.commit()
        entries[job.name] = entry_of(stage)
        empty_memory()
begun = time.process_time()
space.write_locks(list(jobs.values()), entries)
print(round(time.process_time() - begun, 2))
"""


def make(root: Path, cells: int) -> list[str]:
    """A composed project of placeholders, and the command that composed it."""
    from tests.support.project import make_project

    make_project(root)
    shutil.copyfile(ROOT / ".gitignore", root / ".gitignore")  # without it DVC writes a line a result, and reads all
    make_placeholders(root)
    names = add_models(root, cells // len(PRECISIONS))
    matrix = [f"model=[{','.join(names)}]", f"precision=[{','.join(PRECISIONS)}]"]
    command = [sys.executable, "-m", "pipeline", "compose", *matrix, "backend=[onnxruntime]", "target=[cpu]"]
    timed(command, root)
    return command


def measure(cells: int, jobs: int) -> dict[str, object]:
    """Cold and idle, both ways."""
    python = [sys.executable, "-m"]
    serial, parallel = [*python, "dvc", "repro"], [*python, "pipeline", "run", "--jobs", str(jobs)]
    with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-") as folder:
        root = Path(folder) / "project"
        compose = timed(make(root, cells), root)
        one = timed(serial, root)
        idle_one = timed(serial, root)
        forget(root)
        several = timed(parallel, root)
        idle_several = timed(parallel, root)
        after = timed(serial, root)
    return {
        **_here(cells),
        "jobs": jobs,
        "compose": _figures(compose),
        "dvc_repro": {"cold": _figures(one), "idle": _figures(idle_one)},
        "run": {"cold": _figures(several), "idle": _figures(idle_several)},
        "stages": one["stages_run"],
        "dvc_repro_behind_it_ran": after["stages_run"],
    }


def measure_swept(cells: int, jobs: int) -> dict[str, object]:
    """The engine alone: plan, every stage once, and again with nothing to do."""
    python = [sys.executable, "-m", "pipeline"]
    with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-") as folder:
        root = Path(folder) / "project"
        command = make(root, cells)
        plan = timed([*python, "plan", *command[4:]], root)
        cold = timed([*python, "run", "--jobs", str(jobs)], root)
        stages = len(list((root / "records").glob("*/*.json")))
        idle = timed([*python, "run", "--jobs", str(jobs)], root)
    run = {"cold": _figures(cold), "idle": _figures(idle)}
    return {**_here(cells), "jobs": jobs, "stages": stages, "plan": _figures(plan), "run": run}


def measure_seeded(cells: int, repro: bool) -> dict[str, object]:
    """With all results there: what plan, compose and a run with nothing to do take."""
    python = [sys.executable, "-m"]
    with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-") as folder:
        root = Path(folder) / "project"
        command = make(root, cells)
        compose = timed(command, root)
        plan = timed([*python, "pipeline", "plan", *command[4:]], root)
        guard = timed([*python, "stages", "guard"], root)
        env = {**os.environ, "PYTHONPATH": str(root)}
        seed = subprocess.run([sys.executable, "-c", SEED], cwd=root, env=env, capture_output=True, text=True)
        if seed.returncode:
            raise SystemExit(seed.stderr[-2000:])
        first = timed([*python, "pipeline", "run"], root)  # the report
        idle = timed([*python, "pipeline", "run"], root)
        result: dict[str, object] = {
            **_here(cells),
            "compose": _figures(compose),
            "plan": _figures(plan),
            "guard": _figures(guard),
            "lock_files_cpu_s": float(seed.stdout.split()[-1]),
            "run": {"report_alone": _figures(first), "idle": _figures(idle)},
        }
        if repro:
            result["dvc_repro"] = {"idle": _figures(timed([*python, "dvc", "repro"], root))}
    return result


def _here(cells: int) -> dict[str, object]:
    when = time.strftime("%Y-%m-%d")
    load = round(os.getloadavg()[0], 1)
    return {"cells": cells, "machine": machine_facts(), "python": platform.python_version(), "on": when, "load": load}


def _figures(said: dict[str, float]) -> dict[str, float]:
    return {name: said[name] for name in ("wall_s", "cpu_s")}


def main() -> None:
    """Print the measurements as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[])
    parser.add_argument("--swept", type=int, nargs="+", default=[])
    parser.add_argument("--seeded", type=int, nargs="+", default=[])
    parser.add_argument("--repro", action="store_true", help="with --seeded: `dvc repro` as well, which takes minutes")
    parser.add_argument("-j", "--jobs", type=int, default=2)
    arguments = parser.parse_args()
    found = [measure(cells, arguments.jobs) for cells in arguments.cells]
    found += [measure_swept(cells, arguments.jobs) for cells in arguments.swept]
    found += [measure_seeded(cells, arguments.repro) for cells in arguments.seeded]
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
