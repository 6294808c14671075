"""plan: show the matrix without running anything."""

from __future__ import annotations

import argparse
import sys

from pipeline.planned import Plan
from pipeline.types import JSON

LEAST = 40  # columns that settings take beside their cell


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="as Hydra takes them: 'precision=[int4]' suite=smoke")
    parser.add_argument("--json", action="store_true", help="the whole plan as JSON")


def run(arguments: argparse.Namespace) -> int:
    from pipeline.matrix.compose import compose_config, settings_of
    from pipeline.matrix.plan import make_plan
    from pipeline.strict import to_json

    settings = compose_config(arguments.overrides, settings_of)  # quicker than the whole config
    plan = make_plan(settings)
    shown = to_json(plan) if arguments.json else text(plan) + cost(plan, settings)
    sys.stdout.write(shown)
    return 0


def cost(plan: Plan, settings: JSON) -> str:
    """What the plan takes, about, in disk, time and memory, and what is here."""
    import shutil
    from pathlib import Path

    from pipeline.commands import estimate
    from pipeline.harness.disk import copies
    from pipeline.matrix.sizes import DEFER_ABOVE, plan_size
    from pipeline.model.dimensions import dimensions
    from pipeline.terminal import wrapped

    shapes = {name: dimensions(name, settings["model"][name]) for name in plan.models}
    needed, free = plan_size(plan, shapes, DEFER_ABOVE, copies(Path())), shutil.disk_usage(Path()).free
    said = f"{free / 1e9:.1f} GB free{': too little' if free < needed else ''}"
    lines = [line for told in estimate.lines(plan, settings, shapes) for line in wrapped(told)]
    lines += wrapped(f"about {needed / 1e9:.1f} GB of disk for exports, builds, packages and DVC's copies; {said}")
    return "\n".join(lines) + "\n"


def text(plan: Plan) -> str:
    """The cells as a table, then the excluded combinations with their reasons."""
    import textwrap

    from pipeline.matrix.plan import grouped
    from pipeline.terminal import width, wrapped

    rows = [("cell", "method", "settings")]
    for key, cell in plan.cells.items():
        recipe = plan.builds[cell.build].quantize.recipe
        settings = " ".join(f"{name}={_short(value)}" for name, value in recipe.settings.items())
        rows.append((key, recipe.method, settings))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    indent = " " * (sum(widths) + 4)
    if width() - len(indent) < LEAST:  # the settings below their cell
        indent = "    "
    lines = []
    for first, second, third in rows:
        head = f"{first:<{widths[0]}}  {second:<{widths[1]}}  "
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
