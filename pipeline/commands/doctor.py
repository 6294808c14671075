"""doctor: which backends and targets are usable on this machine, and what the others need. Changes nothing."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pipeline.types import JSON


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    from pipeline.strict import to_json

    found = examine()
    sys.stdout.write(to_json(found) if arguments.json else text(found))
    return 0


def examine() -> JSON:
    """{python, machine, backends, targets}: each entry usable or not, with what is needed."""
    from pipeline import layout
    from pipeline.harness import host

    machine = host.machine_facts()
    backends: JSON = {}
    confs = _options("backend")
    for name, conf in confs.items():
        facts = host.tool_facts(conf["requires"], conf.get("install", "make install"))
        wrong = "; ".join(f"{tool}: {said}; run: {facts['install']}" for tool, said in facts["wrong"].items())
        needs = facts["reason"] or wrong
        backends[name] = {"usable": not needs, "needs": needs, "versions": facts["versions"]}
    targets: JSON = {}
    for target, conf in _options("target").items():
        device = conf.get("device", "")
        served = [*conf["backends"], *(name for name, own in confs.items() if target in own.get("serves", {}))]
        ready = [backend for backend in served if backends[backend]["usable"]]
        packaged = [backend for backend in ready if backend not in conf.get("left_out", {})]
        here = not device or device in machine["accelerators"]
        targets[target] = {
            "packages_by": packaged,
            "needs": "; ".join(conf.get("left_out", {}).values()) if not packaged else "",
            "measured_here": here,
            "device": "" if here else f"needs {host.DEVICES.get(device, device)}",
        }
    return {
        "python": host.python_facts(),
        "root": str(layout.CONF.resolve().parent),
        "machine": machine,
        "backends": backends,
        "targets": targets,
    }


def _options(group: str) -> dict[str, Any]:
    """name → entry of every file in a group of conf/."""
    import yaml

    from pipeline import layout

    found: dict[str, Any] = {}
    for path in sorted((layout.CONF / group).glob("*.yaml")):
        found |= yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def text(found: JSON) -> str:
    from pipeline.terminal import wrapped

    machine = found["machine"]
    accelerators = ", ".join(machine["accelerators"]) or "no accelerator"
    lines = [
        *wrapped(found["python"]),
        *wrapped(f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {accelerators}"),
        "",
        "backends",
    ]
    width = max(map(len, (*found["backends"], *found["targets"])))
    for name, entry in found["backends"].items():
        versions = ", ".join(f"{tool} {version}" for tool, version in entry["versions"].items() if version)
        lines += wrapped(f"{name:<{width}}  {'ok: ' + versions if entry['usable'] else entry['needs']}", "  ")
    lines += ["", "targets"]
    for name, entry in found["targets"].items():
        made = f"packages by {', '.join(entry['packages_by'])}" if entry["packages_by"] else "no package"
        speed = "speed measured here" if entry["measured_here"] else f"speed {entry['device']}"
        lines += wrapped(f"{name:<{width}}  {made}; {entry['needs'] or speed}", "  ")
    return "\n".join(lines) + "\n"
