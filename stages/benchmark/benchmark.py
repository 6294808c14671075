"""benchmark: speed and memory of a package on this machine, in a fresh process, alone."""

from __future__ import annotations

from pipeline import layout
from pipeline.backends.speed import measure
from pipeline.files import read_json, write_json
from pipeline.harness import host
from pipeline.harness.outcome import outcome, why_unusable
from pipeline.types import JSON, Status


def benchmark(key: str, entry: JSON) -> str | None:
    """Write artifacts/benchmarks/<key>.json, or the reason for which it was skipped."""
    machine = read_json(layout.host("machine"))
    skipped = _why_skipped(key, entry, machine)
    if skipped:
        write_json(layout.benchmark(key), {"status": Status.SKIPPED, "reason": skipped})
        return skipped
    measured = measure(entry["backend"], layout.package(key), entry["benchmark"], machine)
    write_json(layout.benchmark(key), {"status": Status.OK, "reason": "", **measured})
    return None


def _why_skipped(key: str, entry: JSON, machine: JSON) -> str | None:
    packaged = outcome(layout.package(key))
    if packaged["status"] == Status.SKIPPED:
        return str(packaged["reason"])
    device = entry["benchmark"]["device"]
    if device and device not in machine["accelerators"]:
        return f"needs {host.DEVICES.get(device, device)}"
    return why_unusable(entry["backend"])
