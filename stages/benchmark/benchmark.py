"""benchmark: speed and memory of a package on this machine, in a fresh process, alone."""

from __future__ import annotations

from dataclasses import fields

from pipeline import layout
from pipeline.backends.speed import measure
from pipeline.entries import Benchmark
from pipeline.files import read_json
from pipeline.harness import host
from pipeline.harness.outcome import Skip
from pipeline.records import Benchmark as Result
from pipeline.types import Status


def benchmark(key: str, entry: Benchmark) -> Result:
    """The package's speed. Raises Skip where its device is not here."""
    machine = read_json(layout.host("machine"))
    if entry.device and entry.device not in machine["accelerators"]:
        raise Skip(f"needs {host.DEVICES.get(entry.device, entry.device)}")
    measured = measure(layout.package(key), entry, machine)
    return Result(Status.OK, "", **{field.name: getattr(measured, field.name) for field in fields(measured)})
