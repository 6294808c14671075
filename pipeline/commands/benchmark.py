"""benchmark: measure a package on this device, with only the package and its runtime installed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", type=Path, metavar="PACKAGE", help="a folder that the pipeline packaged")
    parser.add_argument("--out", type=Path, default=None, help="where to write (default: PACKAGE-name.benchmark.json)")
    parser.add_argument("--device", default=None, help="a target's device; without it, the package's target's")
    for name, default in (("prompt-tokens", 128), ("new-tokens", 64), ("runs", 5), ("warmup", 1), ("threads", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)


def run(arguments: argparse.Namespace) -> int:
    from pipeline.backends.speed import measure
    from pipeline.errors import ArtifactError, ConfigError
    from pipeline.files import write_json
    from pipeline.harness import host
    from pipeline.packaging.benchmark_file import FORMAT, package_digest, sealed
    from pipeline.packaging.manifest import verify
    from pipeline.types import Status

    manifest = verify(arguments.package)
    if manifest["status"] == Status.SKIPPED:
        raise ArtifactError(f"it was skipped: {manifest['reason']}", where=str(arguments.package))
    device = manifest["cell"].get("device", "") if arguments.device is None else arguments.device
    machine = host.machine_facts()
    if device and device not in machine["accelerators"]:
        needs = host.DEVICES.get(device, f"a device called {device}")
        raise ConfigError(
            f"this machine is not {needs}", where=str(arguments.package), hint="--device '' takes the CPU"
        )
    settings = {name: getattr(arguments, name) for name in ("prompt_tokens", "new_tokens", "runs", "warmup", "threads")}
    if min(settings["prompt_tokens"], settings["new_tokens"] - 1, settings["runs"]) < 1:
        raise ConfigError("--prompt-tokens and --runs are at least 1, --new-tokens at least 2")
    backend = manifest["cell"]["backend"]
    measured = measure(backend, arguments.package, {**settings, "device": device, "busy_load": 0.5}, machine)
    identity = {"format": FORMAT, "cell": manifest["cell"]["id"], "backend": backend, "device": device}
    content = {**identity, "package_sha256": package_digest(arguments.package), **measured}
    out = arguments.out or Path(f"{arguments.package.resolve().name}.benchmark.json")
    write_json(out, sealed(content))
    metrics = measured["metrics"]
    sys.stdout.write(
        f"{manifest['cell']['id']}: {metrics['decode_tokens_per_s']:,.1f} tokens/s, "
        f"TTFT {metrics['ttft_ms_p50']:,.1f} ms; wrote {out}\n"
    )
    return 0
