"""What a plan takes on this machine, in words: time, memory, and lighter recipes where a stage does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.types import JSON

if TYPE_CHECKING:
    from pipeline.matrix.estimates import Need
    from pipeline.model.dimensions import Dimensions
    from pipeline.planned import Plan

LONG_S = 3600.0
RESTS_ON = "by rates of docs/performance.md, within a factor of two"
NAMED = 3


def lines(plan: Plan, settings: JSON, shapes: Mapping[str, Dimensions]) -> list[str]:
    """`about 25 min on 2 cores: reference 10 min, …`, and what does not fit. `settings` is the composed config."""
    import psutil

    from pipeline.matrix.estimates import asked_of, longest, needs

    cores = psutil.cpu_count(logical=False) or 1
    found = needs(plan, shapes, asked_of(plan, shapes), cores)
    spent = longest(found)
    parts = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in list(spent.items())[:NAMED])
    most = max(found, key=lambda need: need.memory)
    told = [
        f"about {duration(sum(spent.values()))} on {cores} cores where nothing is done yet ({parts}); at most "
        f"{most.memory / 1e9:.1f} GB of memory ({most.stage} {most.key}); {RESTS_ON}"
    ]
    told += _too_large(plan, settings, shapes, found, float(psutil.virtual_memory().total))
    if spent.get("evaluate", 0) + spent.get("reference", 0) > LONG_S:
        told.append("sooner: evaluate.tokens=2048 evaluate.max_questions=20, and all of it for what is left to choose")
    return told


def _too_large(
    plan: Plan, settings: JSON, shapes: Mapping[str, Dimensions], found: list[Need], memory: float
) -> Iterator[str]:
    for need in found:
        if need.memory <= memory:
            continue
        said = (
            f"too large for this machine's {memory / 1e9:.0f} GB: {need.stage} {need.key}, {need.memory / 1e9:.1f} GB"
        )
        if need.stage == "quantize":
            lighter = _lighter(plan, settings, shapes, need, memory)
            said += f"; lighter: {', '.join(lighter)}" if lighter else "; nothing lighter on this backend"
        elif need.stage == "evaluate":
            said += "; fewer bits are lighter"
        yield said


def _lighter(plan: Plan, settings: JSON, shapes: Mapping[str, Dimensions], need: Need, memory: float) -> list[str]:
    """Precision options of the same family whose recipe on this backend fits."""
    import yaml

    from pipeline.matrix.estimates import quantize_need
    from pipeline.matrix.recipes import needs_calibration, parse_recipe

    build = plan.builds[need.key]
    family, backend = build.quantize.recipe.family, build.quantize.backend
    conf = settings["backend"][backend]
    fits = []
    for path in sorted(Path("conf/precision").glob("*.yaml")):
        for option, said in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).items():
            raw = conf["recipes"].get(str(family), {}).get(said.get("recipe", "default"))
            if said["family"] != family or not isinstance(raw, dict):
                continue
            recipe = parse_recipe(option, family, raw, option, conf["methods"])
            reads = "some" if needs_calibration(recipe, conf["methods"]) else ""
            shape = shapes[build.model]
            head = 4 * shape.vocab_size * shape.hidden_size
            if quantize_need(need.key, recipe, backend, shape.parameters, reads, head).memory <= memory:
                fits.append(option)
    return fits


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
