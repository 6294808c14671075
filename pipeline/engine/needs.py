"""What a stage takes of a machine while it runs, from the plan's own estimates: so that no two start that do not fit.

Tools use all cores whether or not they run beside others, since the number of threads must not decide what is made:
two stages whose tools have long work for all cores do not run together; short ones run beside anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from pipeline.engine.jobs import Job
from pipeline.errors import PipelineError
from pipeline.matrix.estimates import Need, asked_of, needs
from pipeline.matrix.rates import PROCESS, STAGE_S
from pipeline.matrix.sizes import DEFER_ABOVE
from pipeline.model.dimensions import dimensions
from pipeline.planned import Plan
from pipeline.types import JSON

ALONE, BESIDE = 1.0, 1 / 1024  # of the machine: nothing else, or any number of others
THREADED = ("reference", "sensitivity", "fit", "evaluate")  # what computes with all threads
LONG_S = 30.0  # of work: less is mostly start-up, which one core does
BENCHMARK = "benchmark"


@dataclass(frozen=True)
class Share:
    """Of one entry: seconds, bytes of memory; whether its tool keeps all cores busy, or is to run alone."""

    seconds: float = STAGE_S
    memory: float = PROCESS
    all_cores: bool = False
    alone: bool = False

    def resources(self, memory: float) -> dict[str, float]:
        """In Dask's words, of a machine with so much memory; what is too large for it gets all of it."""
        return {
            "machine": ALONE if self.alone else BESIDE,
            "cores": ALONE if self.all_cores else 0.0,
            "memory": min(self.memory, memory),
        }


def machine(memory: float) -> dict[str, float]:
    """A machine's resources, as `Share.resources` asks for them."""
    return {"machine": ALONE, "cores": ALONE, "memory": memory}


def default_jobs(cores: int, memory: float) -> int:
    """As many stages at once as there are cores and as fit into memory without a model."""
    return max(1, min(cores, int(memory // PROCESS)))


def cores_here() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def memory_here() -> float:
    """Bytes that are free to be used now."""
    import psutil

    return float(psutil.virtual_memory().available)


def shares(plan: Plan, settings: JSON, jobs: Mapping[str, Job], cores: int) -> dict[str, Share]:
    """Of every job; what cannot be estimated, such as a model that is broken, counts as small."""
    estimated: dict[str, Need] = {}
    sizes: dict[str, float] = {}
    with suppress(PipelineError, OSError, KeyError):
        shapes = {name: dimensions(name, settings["model"][name]) for name in plan.models}
        sizes = {name: 2.0 * shape.parameters for name, shape in shapes.items()}
        estimated = {f"{need.stage}@{need.key}": need for need in needs(plan, shapes, asked_of(plan, shapes), cores)}
    return {name: _share(job, plan, estimated, sizes) for name, job in jobs.items()}


def _share(job: Job, plan: Plan, estimated: Mapping[str, Need], sizes: Mapping[str, float]) -> Share:
    need = estimated.get(job.name) or _like(job, plan, estimated, sizes)
    long = job.stage in THREADED and need.seconds - STAGE_S > LONG_S
    return Share(need.seconds, need.memory, long, job.stage == BENCHMARK)


def _like(job: Job, plan: Plan, estimated: Mapping[str, Need], sizes: Mapping[str, float]) -> Need:
    """Of a stage that has no estimate of its own, by those that do the same work."""
    small = Need(job.stage, job.key, STAGE_S, PROCESS)
    if job.stage == "convert":
        size = sizes.get(plan.exports[job.key].model, 0.0)
        return small if size > DEFER_ABOVE else Need(job.stage, job.key, STAGE_S, PROCESS + 4 * size)
    if job.stage == "sensitivity":
        same = estimated.get(f"reference@{job.key}", small)
        return Need(job.stage, job.key, 2 * same.seconds, same.memory)
    if job.stage == "variants":
        return Need(job.stage, job.key, 2 * STAGE_S, PROCESS + 0.2 * sizes.get(plan.variants[job.key].model, 0.0))
    if job.stage == "fit":
        parts = [estimated.get(f"{stage}@{job.key}", small) for stage in ("quantize", "evaluate")]
        seconds = plan.fits[job.key].fit.builds * sum(part.seconds for part in parts)
        return Need(job.stage, job.key, seconds, max(part.memory for part in parts))
    return small
