"""Speed of `evaluate` at int4, against a bare loop over the runtime's own API."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.bare_loop import bare_loop
from benchmarks.memory import compose, stage
from benchmarks.tools import RECIPES
from benchmarks.workspace import ROOT, copy_project

SHIPPED = ROOT / "models/phi-tiny"
WINDOWS, TURNS = {"mlx": 4}, {"mlx": 2}  # fewer where the runtime is slow on a CPU
LARGE = ("evaluate.window=128", "evaluate.tokens=512", "evaluate.questions=''")  # settings for a large model


def shipped(root: Path, backend: str) -> dict[str, float]:
    """Evaluation's speed on the shipped model at int4."""
    copy_project(root)
    export, build = compose(root, SHIPPED, RECIPES[backend], backend)
    for name, key in (("fetch", "local"), ("convert", export), ("quantize", build)):
        stage(root, name, key)
    return evaluation(root, backend, build, SHIPPED)


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
