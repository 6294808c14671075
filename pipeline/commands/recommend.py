"""recommend: which package to ship to each target, from reports/cells.json."""

from __future__ import annotations

import argparse
import json
import sys

from pipeline.types import JSON


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", help="one target; without it, every target of the matrix")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    from pipeline import layout
    from pipeline.errors import ConfigError, suggest
    from pipeline.files import read_json
    from pipeline.reporting.choice import recommend

    records = read_json(layout.CELLS)
    targets = list(dict.fromkeys(record["target"] for record in records))
    if arguments.target and arguments.target not in targets:
        hint = f"{suggest(arguments.target, targets)}; compose with 'target=[{arguments.target}]' and run dvc repro"
        raise ConfigError(f"no cell of the matrix is for target '{arguments.target}'", hint=hint)
    choices = [recommend(records, target) for target in ([arguments.target] if arguments.target else targets)]
    if arguments.json:
        sys.stdout.write(json.dumps(choices, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(text(choice, records) for choice in choices))
    return 0


def text(choice: JSON, records: list[JSON]) -> str:
    """The choice with its margins, the front, and why the others lost."""
    rows = {record["id"]: record for record in records}
    lines = [f"{choice['target']}: {choice['choice'] or 'nothing passes its gates'}"]
    if choice["choice"]:
        lines.append(f"  {_figures(rows[choice['choice']])}; ship {choice['package']['path']}")
        lines.append(f"  rests on {choice['rests_on']}")
        lines += [f"  {_gate(gate)}" for gate in choice["gates"]]
    elif choice["closest"]:
        lines.append(f"  closest: {choice['closest']['id']}, misses {', '.join(choice['closest']['misses'])}")
    if choice["front"]:
        lines.append("  front (quality, size and speed):")
        lines += [f"    {cell}  {_figures(rows[cell])}" for cell in choice["front"]]
    if choice["lost"]:
        lines.append("  the others:")
        lines += [f"    {cell}: {reason}" for cell, reason in choice["lost"].items()]
    return "\n".join(lines) + "\n"


def _figures(record: JSON) -> str:
    metrics = record["metrics"]
    speed = metrics["decode_tokens_per_s"]
    said = f"{metrics['size_bytes'] / 1e6:,.1f} MB, KL {metrics['kl_nats_mean_common']:.1e}"
    return f"{said}, {speed:,.0f} tokens/s" if speed is not None else said


def _gate(gate: JSON) -> str:
    if gate["passed"] is None:
        return f"{gate['gate']} {gate['bound']:g}: not measured"
    return f"{gate['gate']} {gate['bound']:g}: {gate['value']:.3g}, {gate['margin']:+.0%} of margin"
