"""Speed of `evaluate` at int4: over its windows, of its forward passes alone, and of a bare loop.

    python benchmarks/evaluation.py /data/phi-3.5-mini-4-layers > benchmarks/results/evaluation.json

The bare loop is the runtime's own API, one window at a time. The shipped model as well as the checkpoint.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bare_loop import bare_loop  # noqa: E402
from benchmarks.memory import compose, stage  # noqa: E402
from benchmarks.tools import RECIPES  # noqa: E402
from benchmarks.workspace import copy_project  # noqa: E402
from pipeline.harness.host import machine_facts  # noqa: E402

SHIPPED = ROOT / "models/phi-tiny"
WINDOWS, TURNS = {"mlx": 4}, {"mlx": 2}  # fewer where the runtime is slow on a CPU
LARGE = ("evaluate.window=128", "evaluate.tokens=512", "evaluate.questions=''")  # settings for a large model


def built(root: Path, backend: str, checkpoint: Path, settings: Sequence[str] = ()) -> str:
    """The checkpoint's int4 build in a copy of the project: its name."""
    copy_project(root)
    export, build = compose(root, checkpoint, RECIPES[backend], backend, settings)
    for name, key in (("fetch", "local"), ("convert", export), ("quantize", build)):
        stage(root, name, key)
    return build


def evaluation(root: Path, backend: str, key: str, weights: Path) -> dict[str, float]:
    """Tokens per second of a build over some of the evaluation's windows: medians, the first turn left out.

    `cpu_ratio`: CPU time over that of the runtime's forward passes alone, which other programs disturb less.
    """
    from pipeline import layout
    from pipeline.backends.registry import load_backend
    from pipeline.metrics.scoring import read_reference, score_windows

    stage(root, "reference", "local")
    build, reference = root / "artifacts/builds" / key, root / "artifacts/references/local"
    ids = np.load(reference / layout.IDS)[: WINDOWS.get(backend, 16)]
    loop, states = bare_loop(backend, build), read_reference(reference / layout.HIDDEN, weights)
    kind = load_backend(backend)
    with kind.open(build) as session:
        batches = [ids[first : first + kind.batch] for first in range(0, len(ids), kind.batch)]
        work: dict[str, Callable[[], object]] = {
            "evaluate": lambda: score_windows(ids, states, session.logits, kind.batch, lambda _: None),
            "forward_passes": lambda: [session.logits(batch) for batch in batches],
            "bare_loop": lambda: [loop(window) for window in ids],
        }
        seconds: dict[str, list[float]] = {name: [] for name in work}
        cpu: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(TURNS.get(backend, 4)):
            for name, do in work.items():
                begun, used = time.perf_counter(), time.process_time()
                do()
                cpu[name].append(time.process_time() - used)
                seconds[name].append(time.perf_counter() - begun)
    speeds = {name: ids.size / median(found[1:]) for name, found in seconds.items()}
    return {
        **{f"{name}_tokens_per_s": round(speed) for name, speed in speeds.items()},
        "ratio": round(speeds["evaluate"] / speeds["bare_loop"], 3),
        "cpu_ratio": round(median(cpu["evaluate"][1:]) / median(cpu["forward_passes"][1:]), 3),
        "tokens": int(ids.size),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of evaluation.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--backends", nargs="+", choices=RECIPES, default=list(RECIPES))
    arguments = parser.parse_args()
    checkpoint, speeds = arguments.checkpoint.resolve(), dict[str, Any]()
    for backend in arguments.backends:
        for model, settings in ((SHIPPED, ()), (checkpoint, LARGE)):
            if backend == "mlx" and settings:  # a token in a second there
                continue
            with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-", dir=checkpoint.parent) as folder:
                build = built(Path(folder), backend, model, settings)
                found = evaluation(Path(folder), backend, build, model)
            speeds[f"{model.name} {backend}"] = found
            sys.stderr.write(f"{model.name} {backend}: {json.dumps(found)}\n")
    sys.stdout.write(json.dumps({"machine": machine_facts(), "evaluation": speeds}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
