"""What a machine is and has, as Dask resources: a stage goes where its facts are those that its key will have."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pipeline import layout
from pipeline.engine.jobs import Job
from pipeline.engine.needs import BENCHMARK, BESIDE

MACHINE = "machine.json"


def facts_of(root: Path) -> dict[str, str]:
    """guard's files about a machine: their text by name."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((root / layout.HOST).glob("*.json"))}


def cpu(facts: Mapping[str, str]) -> str:
    """What chooses kernels, as a resource: last digits of results depend on it, and DVC's key does not say it."""
    machine = json.loads(facts[MACHINE])
    return f"cpu:{_digest(json.dumps([machine['system'], machine['arch'], machine['instructions']]))}"


def device(name: str) -> str:
    """A device of a target, as a resource."""
    return f"device:{name}"


def copy(digest: str) -> str:
    """A driver's working tree, as a resource: a worker without it takes nothing of that driver."""
    return f"copy:{digest}"


def declared(facts: Mapping[str, str], digest: str) -> dict[str, float]:
    """All that a machine can say of itself, once it has the copy of that digest."""
    found = {f"{name}:{_digest(text)}": 1.0 for name, text in facts.items()}
    found |= {device(name): 1.0 for name in json.loads(facts[MACHINE])["accelerators"]}
    return {**found, cpu(facts): 1.0, copy(digest): 1.0}


def required(job: Job, facts: Mapping[str, str], like: str, digest: str) -> dict[str, float]:
    """Of whom a stage may be run: a machine with the driver's tools as far as it uses them, and kernels alike."""
    named = [Path(dep).name for dep in job.deps if Path(dep).parent == layout.HOST]
    found = {f"{name}:{_digest(facts[name])}": BESIDE for name in named} | {copy(digest): BESIDE}
    return found if job.stage == BENCHMARK else {**found, like: BESIDE}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
