"""plan: show the matrix without running anything."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.planned import Plan
from pipeline.types import JSON, Family

if TYPE_CHECKING:
    from pipeline.model.dimensions import Dimensions

LEAST = 40  # columns that settings take beside their cell


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="as Hydra takes them: 'precision=[int4]' suite=smoke")
    parser.add_argument("--json", action="store_true", help="the whole plan as JSON")
    parser.add_argument("--cfg", action="store_true", help="the composed config instead: what params.yaml would hold")


def run(arguments: argparse.Namespace) -> int:
    from pipeline.matrix.compose import compose_config, settings_of, to_yaml
    from pipeline.matrix.plan import make_plan
    from pipeline.model.dimensions import dimensions
    from pipeline.strict import to_json

    if arguments.cfg:
        sys.stdout.write(to_yaml(compose_config(arguments.overrides)))
        return 0
    settings = compose_config(arguments.overrides, settings_of)  # quicker than the whole config
    plan = make_plan(settings)
    if arguments.json:
        sys.stdout.write(to_json(plan))
        return 0
    shapes = {name: dimensions(name, settings["model"][name]) for name in plan.models}
    sys.stdout.write(text(plan, sizes(plan, shapes)) + cost(plan, settings, shapes))
    return 0


def sizes(plan: Plan, shapes: Mapping[str, Dimensions]) -> dict[str, str]:
    """What each cell's package will take, in MB: predicted where its recipe and the model's shape say it."""
    from pipeline.matrix.packed import package_size

    found = {}
    for key, cell in plan.cells.items():
        build = plan.builds[cell.build]
        form, shape = plan.exports[build.export].convert.form, shapes[cell.model]
        known = shape.vocab_size and build.quantize.recipe.family != Family.FIT
        size = package_size(build.quantize.recipe, form, shape) / 1e6
        found[key] = "–" if not known else f"{size:,.0f}" if size >= 100 else f"{size:.1f}"
    return found


def cost(plan: Plan, settings: JSON, shapes: Mapping[str, Dimensions]) -> str:
    """What the plan takes, about, in disk, time and memory, and what is here."""
    import shutil
    from pathlib import Path

    from pipeline.commands import estimate
    from pipeline.harness.disk import copies
    from pipeline.matrix.sizes import DEFER_ABOVE, plan_size
    from pipeline.terminal import wrapped

    needed, free = plan_size(plan, shapes, DEFER_ABOVE, copies(Path())), shutil.disk_usage(Path()).free
    said = f"{free / 1e9:.1f} GB free{': too little' if free < needed else ''}"
    lines = [line for told in estimate.lines(plan, settings, shapes) for line in wrapped(told)]
    lines += wrapped(f"about {needed / 1e9:.1f} GB of disk for exports, builds, packages and DVC's copies; {said}")
    return "\n".join(lines) + "\n"


def text(plan: Plan, megabytes: Mapping[str, str]) -> str:
    """The cells as a table, with how large their packages will be, then the excluded with their reasons."""
    import textwrap

    from pipeline.matrix.plan import grouped
    from pipeline.terminal import width, wrapped

    rows = [("cell", "MB", "method", "settings")]
    for key, cell in plan.cells.items():
        recipe = plan.builds[cell.build].quantize.recipe
        settings = " ".join(f"{name}={_short(value)}" for name, value in recipe.settings.items())
        rows.append((key, megabytes[key], recipe.method, settings))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    indent = " " * (sum(widths) + 6)
    if width() - len(indent) < LEAST:  # the settings below their cell
        indent = "    "
    lines = []
    for first, size, second, third in rows:
        head = f"{first:<{widths[0]}}  {size:>{widths[1]}}  {second:<{widths[2]}}  "
        if len(head) + len(third) <= width():
            lines.append((head + third).rstrip())
            continue
        words = textwrap.wrap(third, width() - len(indent), break_on_hyphens=False)
        beside = len(indent) == len(head)
        lines.append((head + (words.pop(0) if beside else "")).rstrip())
        lines += [indent + line for line in words]
    counts = ", ".join(f"{len(getattr(plan, group))} {group}" for group in ("models", "exports", "builds", "cells"))
    lines += ["", f"{counts}; {len(plan.excluded)} excluded"]
    for line in grouped(plan.excluded):
        lines += wrapped(line, "  ")
    return "\n".join(lines) + "\n"


def _short(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_short, value))
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"'{text}'" if " " in text else text
