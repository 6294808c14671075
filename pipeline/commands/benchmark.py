"""benchmark: measure a package on this device, with only the package and its runtime installed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    from dataclasses import fields

    from pipeline.matrix.schema import BenchmarkConf

    parser.add_argument("package", type=Path, metavar="PACKAGE", help="a folder that the pipeline packaged")
    parser.add_argument("--out", type=Path, default=None, help="where to write (default: PACKAGE-name.benchmark.json)")
    parser.add_argument("--device", default=None, help="a target's device; without it, the package's target's")
    parser.add_argument("--json", action="store_true", help="what was measured, as JSON")
    standard = BenchmarkConf()
    for field in fields(standard):
        option, default = f"--{field.name.replace('_', '-')}", getattr(standard, field.name)
        several = isinstance(default, list)
        parser.add_argument(
            option,
            type=int if several else type(default),
            nargs="*" if several else None,
            default=default,
            help="as in conf/config.yaml",
        )


def run(arguments: argparse.Namespace) -> int:
    from dataclasses import fields

    from pipeline.backends.speed import measure
    from pipeline.entries import Benchmark
    from pipeline.errors import ArtifactError, ConfigError
    from pipeline.files import write_json
    from pipeline.harness import host
    from pipeline.matrix.checks import LEAST_RUN, wrong_lengths
    from pipeline.matrix.schema import BenchmarkConf
    from pipeline.packaging.benchmark_file import FORMAT, package_digest, sealed
    from pipeline.packaging.manifest import verify
    from pipeline.records import Origin
    from pipeline.strict import plain, to_json
    from pipeline.types import Status

    manifest = verify(arguments.package)
    if manifest["status"] == Status.SKIPPED:
        raise ArtifactError(f"it was skipped: {manifest['reason']}", where=str(arguments.package))
    cell = manifest["cell"]
    device = cell.get("device", "") if arguments.device is None else arguments.device
    machine = host.machine_facts()
    if device and device not in machine["accelerators"]:
        needs = host.DEVICES.get(device, f"a device called {device}")
        raise ConfigError(
            f"this machine is not {needs}", where=str(arguments.package), hint="--device '' takes the CPU"
        )
    settings = {field.name: getattr(arguments, field.name) for field in fields(BenchmarkConf)}
    low = [
        f"--{name.replace('_', '-')} is at least {least}" for name, least in LEAST_RUN.items() if settings[name] < least
    ]
    more = wrong_lengths(settings)
    low += [problem.replace("benchmark.more_prompt_tokens", "--more-prompt-tokens") for problem in more]
    if low:
        raise ConfigError("; ".join(low))
    settings["more_prompt_tokens"] = tuple(settings["more_prompt_tokens"])
    asked = Benchmark(backend=cell["backend"], device=device, modality=manifest.get("modality", ""), **settings)
    measured = measure(arguments.package, asked, machine)
    origin = Origin(FORMAT, cell["id"], cell["backend"], device, package_digest(arguments.package))
    out = arguments.out or Path(f"{arguments.package.resolve().name}.benchmark.json")
    content = sealed({**plain(origin), **plain(measured)})
    write_json(out, content)
    metrics = measured.metrics
    line = f"{cell['id']}: {metrics.decode_tokens_per_s:,.1f} tokens/s, TTFT {metrics.ttft_ms_p50:,.1f} ms; wrote {out}"
    sys.stdout.write(to_json({"file": str(out), **content}) if arguments.json else f"{line}\n")
    return 0
