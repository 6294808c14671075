"""Speed of our 4-bit packages: against the reference tool's package, and against memory bandwidth.

    python benchmarks/decode.py /data/phi-3.5-mini-4-layers --llama-cpp ~/llama.cpp \
        --optimum-cli ~/optimum/bin/optimum-cli --into benchmarks/results/decode.json

Ours and theirs (benchmarks/tools.py) are measured in turn, `--runs` times each, in changing order, by the same runtime
in fresh processes, as users run them. The bound: every weight but the embedding table is read once per token, at the
speed at which all cores together copy memory (bytes read and written, over seconds).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tools  # noqa: E402
from benchmarks.bandwidth import bytes_per_token, copy_bandwidth  # noqa: E402
from benchmarks.evaluation import LARGE, built  # noqa: E402
from benchmarks.memory import run  # noqa: E402
from pipeline.backends.speed import measure  # noqa: E402
from pipeline.entries import Benchmark  # noqa: E402
from pipeline.harness.host import machine_facts  # noqa: E402
from pipeline.records import Measured  # noqa: E402

SETTINGS: dict[str, Any] = {
    "threads": 0,
    "prompt_tokens": 128,
    "new_tokens": 64,
    "warmup": 1,
    "runs": 3,
    "device": "",
    "busy_load": 1,
}
SLOW = {**SETTINGS, "prompt_tokens": 16, "new_tokens": 5, "warmup": 0, "runs": 1}  # MLX: a token in seconds on a CPU
SPEEDS = ("decode_tokens_per_s", "prefill_tokens_per_s")


def made(backend: str, checkpoint: Path, root: Path, where: tools.Tools) -> dict[str, Path]:
    """The packages of the same precision: our build, and the reference tool's where the tool is here."""
    packages = {"ours": root / "ours/artifacts/builds" / built(root / "ours", backend, checkpoint, LARGE)}
    if not tools.why_missing(backend, where):
        other = root / "theirs"
        other.mkdir()
        for command in tools.commands(backend, checkpoint, other, where):
            run(command, other)
        (other / "whole.gguf").unlink(missing_ok=True)
        packages["theirs"] = tools.package(backend, other)
    return packages


def compare(backend: str, packages: dict[str, Path], runs: int, bandwidth: float) -> dict[str, Any]:
    """Medians of each package's speed, their ratio, and what of the bound ours reaches."""
    settings = SLOW if backend == "mlx" else SETTINGS
    found: dict[str, list[Measured]] = {who: [] for who in packages}
    for turn in range(runs):
        for who in sorted(packages, reverse=turn % 2 == 1):
            found[who].append(measure(packages[who], Benchmark(backend=backend, **settings), {}))
    middle = {
        who: {key: median(getattr(one.metrics, key) for one in all_) for key in SPEEDS} for who, all_ in found.items()
    }
    read = {who: bytes_per_token(backend, folder) for who, folder in packages.items()}
    bound = 1e9 * bandwidth / read["ours"]
    both = "theirs" in middle
    return {
        "recipe": tools.RECIPES[backend],
        **middle,
        **({"ratio": {key: round(middle["ours"][key] / middle["theirs"][key], 3) for key in SPEEDS}} if both else {}),
        "copy_gb_per_s": round(bandwidth, 1),
        "mb_per_token": {who: round(size / 1e6) for who, size in read.items()},
        "bound_tokens_per_s": round(bound, 1),
        "fraction_of_bound": round(middle["ours"]["decode_tokens_per_s"] / bound, 3),
        "prompt_tokens": settings["prompt_tokens"],
        "new_tokens": settings["new_tokens"],
        "noisy": any(one.noisy for all_ in found.values() for one in all_),
        "runs": runs,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of our packages.")
    tools.add_arguments(parser)
    parser.add_argument(
        "--into", type=Path, required=True, help="the JSON file that each backend's figures are put into"
    )
    arguments = parser.parse_args()
    checkpoint, where = arguments.checkpoint.resolve(), tools.Tools.of(arguments)
    same = {"machine": machine_facts(), "checkpoint": checkpoint.name}
    found = json.loads(arguments.into.read_text(encoding="utf-8")) if arguments.into.is_file() else {}
    result = found if same.items() <= found.items() else {**same, "backends": {}}
    for backend in arguments.backends:
        with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-", dir=arguments.work or checkpoint.parent) as folder:
            packages = made(backend, checkpoint, Path(folder), where)
            missing = tools.why_missing(backend, where)
            measured = compare(backend, packages, arguments.runs, copy_bandwidth())
            result["backends"][backend] = {**measured, **({"skipped": missing} if missing else {})}
            sys.stderr.write(f"{backend}: {json.dumps(result['backends'][backend])}\n")
        arguments.into.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
