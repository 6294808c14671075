"""Ours against each tool's own command line: the same conversion of the same checkpoint, in the same run.

    python benchmarks/make_checkpoint.py phi-3.5-mini /data/phi-3.5-4-layers --layers 4
    python benchmarks/compare_tools.py /data/phi-3.5-4-layers --runs 3 > benchmarks/results/compare_tools.json

Ours is `convert` and `quantize` as DVC runs them; theirs the command under `command`. Ratios are ours over theirs, of
the medians of --runs runs, which alternate: below 1 is less time, or less memory. llama.cpp's script is in no package
index, it comes from a checkout (--llama-cpp); its quantizer is its library's function, for both.
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

from benchmarks.memory import compose, run, stage  # noqa: E402
from benchmarks.workspace import copy_project  # noqa: E402
from pipeline.host import machine_facts  # noqa: E402

QUANTIZE = """
import ctypes, sys, llama_cpp
options = llama_cpp.llama_model_quantize_default_params()
options.ftype, options.nthread = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M, 0
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(options)))
"""
# the settings that both sides can be given: the tool's own defaults, named
RECIPES: dict[str, tuple[str, list[str]]] = {
    "onnxruntime": ("int4-rtn", []),
    "mlx": ("int4-b64", []),
    "llamacpp": ("int4-q4-k-m", []),
}


def theirs(backend: str, checkpoint: Path, out: Path, llama_cpp: Path | None) -> list[list[str]]:
    """The command lines of the tool, one after the other."""
    python = sys.executable
    if backend == "onnxruntime":
        tool = [python, "-m", "onnxruntime_genai.models.builder", "-i", str(checkpoint), "-o", str(out)]
        options = ["int4_block_size=32", "int4_accuracy_level=4", "int4_algo_config=rtn"]
        return [[*tool, "-p", "int4", "-e", "cpu", "-c", str(out / "cache"), "--extra_options", *options]]
    if backend == "mlx":
        tool = [python, "-m", "mlx_lm", "convert", "--hf-path", str(checkpoint), "--mlx-path", str(out / "mlx")]
        return [[*tool, "-q", "--q-bits", "4", "--q-group-size", "64"]]
    if llama_cpp is None:
        return []
    script, whole = str(llama_cpp / "convert_hf_to_gguf.py"), str(out / "whole.gguf")
    first = [python, script, str(checkpoint), "--outfile", whole, "--outtype", "bf16", "--model-name", "phi-3"]
    return [first, [python, "-c", QUANTIZE, whole, str(out / "model.gguf")]]


def together(steps: list[dict[str, float]]) -> dict[str, float]:
    """One conversion out of its steps: times add up, of memory the largest counts."""
    return {
        "wall_s": sum(step["wall_s"] for step in steps),
        "cpu_s": sum(step["cpu_s"] for step in steps),
        "peak_anon_mb": max(step["peak_anon_mb"] for step in steps),
    }


def compare(backend: str, checkpoint: Path, work: Path, runs: int, llama_cpp: Path | None) -> dict[str, Any]:
    recipe, overrides = RECIPES[backend]
    results: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    commands: list[list[str]] = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-", dir=work) as folder:
            root = Path(folder)
            copy_project(root)
            export, build = compose(root, checkpoint, recipe, backend, overrides)
            stage(root, "fetch", "local")
            results["ours"].append(together([stage(root, "convert", export), stage(root, "quantize", build)]))
        with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-", dir=work) as folder:
            commands = theirs(backend, checkpoint, Path(folder), llama_cpp)
            if not commands:
                return {"skipped": "needs --llama-cpp, a checkout of llama.cpp"}
            results["theirs"].append(together([run(command, Path(folder)) for command in commands]))
    middle = {who: {key: median(run[key] for run in all_) for key in all_[0]} for who, all_ in results.items()}
    return {
        "recipe": recipe,
        "command": [" ".join(command).replace(sys.executable, "python") for command in commands],
        **{who: {key: round(value, 1) for key, value in figures.items()} for who, figures in middle.items()},
        "ratio": {key: round(middle["ours"][key] / middle["theirs"][key], 3) for key in middle["ours"]},
        "runs": runs,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Ours against the tools' own command lines.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--backends", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None, help="a folder on a disk with room (default: beside it)")
    parser.add_argument("--llama-cpp", type=Path, default=None, help="a llama.cpp checkout")
    arguments = parser.parse_args()
    checkpoint = arguments.checkpoint.resolve()
    result: dict[str, Any] = {"machine": machine_facts(), "checkpoint": checkpoint.name, "backends": {}}
    for backend in arguments.backends:
        work = arguments.work or checkpoint.parent
        result["backends"][backend] = compare(backend, checkpoint, work, arguments.runs, arguments.llama_cpp)
        sys.stderr.write(f"{backend}: {json.dumps(result['backends'][backend])}\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
