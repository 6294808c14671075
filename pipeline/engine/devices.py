"""Speeds on devices that the driver lacks: measured on a worker that has the device, kept as an imported benchmark.

A cell's own benchmark stage stays what it is here, skipped, as `dvc repro` leaves it. What a speed was asked with is
kept beside the records, so that it is measured again when the package, the settings, the tools or the machine change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future

from pipeline import layout
from pipeline.engine import facts
from pipeline.engine.board import Board
from pipeline.engine.jobs import Job
from pipeline.engine.needs import ALONE, Share
from pipeline.engine.sweep import Outcome, Watch, follow
from pipeline.engine.worker import measure_there
from pipeline.entries import Benchmark
from pipeline.errors import PipelineError
from pipeline.files import read_json, write_json, write_text
from pipeline.packaging.benchmark_file import import_benchmark
from pipeline.planned import Plan
from pipeline.strict import plain
from pipeline.types import JSON, Status

ASKED = layout.RECORDS / "imported"


@dataclass(frozen=True)
class Wanted:
    """A cell's speed that no machine like this one can measure."""

    cell: str
    package: Job
    entry: JSON
    benchmark: Benchmark

    @property
    def asked(self) -> JSON:
        packaged = read_json(layout.package_record(self.cell))
        return {"package": packaged["sha256"], "settings": plain(self.benchmark)}

    @property
    def flags(self) -> list[str]:
        names = ("prompt_tokens", "new_tokens", "warmup", "runs", "threads", "busy_load")
        pairs = ((f"--{name.replace('_', '-')}", str(getattr(self.benchmark, name))) for name in names)
        longer = map(str, self.benchmark.more_prompt_tokens)
        return [*(word for pair in pairs for word in pair), "--more-prompt-tokens", *longer]


def wanted(plan: Plan, jobs: Mapping[str, Job], entries: Mapping[str, JSON], here: JSON) -> list[Wanted]:
    """Cells whose device is not `here` (host/machine.json) and whose package was made."""
    found = []
    for cell, entry in plan.cells.items():
        name = f"package@{cell}"
        if not entry.benchmark.device or entry.benchmark.device in here["accelerators"] or name not in entries:
            continue
        record = layout.package_record(cell)
        if record.is_file() and read_json(record)["status"] == Status.OK:
            found.append(Wanted(cell, jobs[name], entries[name], entry.benchmark))
    return found


def measure_devices(
    client: Client,
    due: list[Wanted],
    workers: Mapping[str, Mapping[str, float]],
    digest: str,
    run: str,
    shares: Mapping[str, Share],
    board: Board,
    watch: Watch,
) -> Outcome:
    """Measure what was not measured yet, or otherwise; each speed is imported. The outcome has failures."""
    outcome, futures, asked = Outcome(), dict[str, Future](), dict[str, JSON]()
    missing: dict[str, list[str]] = {}
    for each in due:
        having = [said for said in workers.values() if facts.device(each.benchmark.device) in said]
        if not having:
            missing.setdefault(each.benchmark.device, []).append(each.cell)
            continue
        if any(_known(each, said) for said in having):
            continue
        name = f"benchmark@{each.cell}"
        asked[name] = each.asked
        futures[name] = client.submit(
            measure_there,
            each.cell,
            digest,
            each.package,
            each.entry,
            each.flags,
            key=("device", f"{each.cell}-{run}"),
            pure=False,
            resources={facts.device(each.benchmark.device): ALONE, "machine": ALONE, facts.copy(digest): 1 / 1024},
        )
    for device, cells in missing.items():
        board.say(f"no worker has {device}: {len(cells)} cells are without a speed, such as {cells[0]}")
    board.begin({name: shares.get(name, Share()) for name in futures})
    follow(futures, board, outcome, watch)
    for name, made in outcome.measured.items():
        _import(name, made, asked[name], outcome, board)
    return outcome


def _known(each: Wanted, said: Mapping[str, float]) -> bool:
    """Whether the speed that is there was asked for the same, on such a machine with such tools."""
    path = ASKED / f"{each.cell}.json"
    if not path.is_file() or not layout.imported(each.cell).is_file():
        return False
    old = read_json(path)
    return old.get("asked") == each.asked and set(old.get("facts", ["?"])) <= set(said)


def _import(name: str, made: Mapping[str, Any], asked: JSON, outcome: Outcome, board: Board) -> None:
    cell = name.partition("@")[2]
    path = ASKED / f"{cell}.benchmark.json"
    try:
        write_text(path, str(made["file"]))
        found = import_benchmark(path)
        backend = json.loads(str(made["file"]))["backend"]
        kept = [fact for fact in made["facts"] if fact.startswith((f"{backend}.json:", f"{facts.MACHINE}:"))]
        write_json(ASKED / f"{cell}.json", {"asked": asked, "facts": kept})
    except PipelineError as error:
        outcome.failed[name] = str(error)
        board.say(f"error: {name}: {error}")
        return
    finally:
        path.unlink(missing_ok=True)
    speed = found.metrics.decode_tokens_per_s
    board.say(f"{name.replace('@', ' ').replace('_', ' ')} · on {made['host']} · {speed:,.0f} tok/s")
