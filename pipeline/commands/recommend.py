"""recommend: which package to ship to each target, from reports/cells.json."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from pipeline.rows import Row

if TYPE_CHECKING:
    from pipeline.reporting.choice import Choice


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", help="one target; without it, every target of the matrix")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    from pipeline import layout
    from pipeline.errors import ConfigError, suggest
    from pipeline.reporting.choice import recommend, targets_of
    from pipeline.reporting.tables import read_cells
    from pipeline.strict import to_json

    rows = read_cells(layout.CELLS)
    targets = targets_of(rows)
    if arguments.target and arguments.target not in targets:
        known = (layout.CONF / "target" / f"{arguments.target}.yaml").is_file()
        compose = f"compose with 'target=[{arguments.target}]' and run dvc repro"
        hint = compose if known else suggest(arguments.target, targets)
        raise ConfigError(f"no cell of the matrix is for target '{arguments.target}'", hint=hint)
    choices = [recommend(rows, target) for target in ([arguments.target] if arguments.target else targets)]
    if arguments.json:
        sys.stdout.write(to_json(choices))
    else:
        sys.stdout.write("\n".join(text(choice, rows) for choice in choices))
    return 0


def text(choice: Choice, rows: list[Row]) -> str:
    """The choice with its margins, the front, and why the others lost."""
    from pipeline.reporting.figures import gate_line
    from pipeline.terminal import wrapped

    by_id = {row.id: row for row in rows}
    lines = [f"{choice.target}: {choice.choice or 'nothing passes its gates'}"]
    if choice.choice and choice.package:
        lines += wrapped(f"{_figures(by_id[choice.choice])}; ship {choice.package.path}", "  ")
        lines.append(f"  rests on {choice.rests_on}")
        lines += [f"  {gate_line(gate)}" for gate in choice.gates]
    elif choice.closest:
        lines += wrapped(f"closest: {choice.closest.id}, misses {', '.join(choice.closest.misses)}", "  ")
    if choice.front:
        lines.append("  front (quality, size and speed):")
        lines += [f"    {cell}  {_figures(by_id[cell])}" for cell in choice.front]
    if choice.lost:
        lines.append("  the others:")
        for cell, reason in choice.lost.items():
            lines += wrapped(f"{cell}: {reason}", "    ")
    return "\n".join(lines) + "\n"


def _figures(row: Row) -> str:
    metrics = row.metrics
    speed = metrics.decode_tokens_per_s
    said = f"{(metrics.size_bytes or 0) / 1e6:,.1f} MB, KL {metrics.kl_nats_mean_common:.1e}"
    return f"{said}, {speed:,.0f} tokens/s" if speed is not None else said
