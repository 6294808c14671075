"""Speed of our 4-bit packages: against the reference tool's package, against memory bandwidth, and in evaluation.

    python benchmarks/decode.py /data/phi-3.5-mini-4-layers --llama-cpp ~/llama.cpp > benchmarks/results/decode.json

Ours and theirs are measured in turn, `--runs` times each, by the same runtime in fresh processes. The bound: every
weight but the embedding table is read once per token, at the speed at which all cores together copy memory (bytes
read and written, over seconds). Evaluation: tokens per second of `evaluate` over its windows, of its forward passes
alone, and of a bare loop over the runtime's own API, one window at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.compare_tools import RECIPES, theirs  # noqa: E402
from benchmarks.memory import compose, run, stage  # noqa: E402
from benchmarks.workspace import copy_project  # noqa: E402
from pipeline.host import machine_facts, threads  # noqa: E402
from pipeline.steps.benchmark import measure  # noqa: E402

SETTINGS = {"threads": 0, "prompt_tokens": 128, "new_tokens": 64, "warmup": 1, "runs": 3, "device": "", "busy_load": 1}
SPEEDS = ("decode_tokens_per_s", "prefill_tokens_per_s")
COPY_BYTES = 2**29


def copy_bandwidth() -> float:
    """GB/s that all cores together move in copies, read and written: the median of five."""
    count = threads()
    sources = [np.ones(COPY_BYTES // count, np.uint8) for _ in range(count)]
    targets = [np.zeros_like(source) for source in sources]
    seconds = []
    with ThreadPoolExecutor(count) as pool:
        for _ in range(6):
            begun = time.perf_counter()
            list(pool.map(np.copyto, targets, sources))
            seconds.append(time.perf_counter() - begun)
    return 2 * COPY_BYTES / median(seconds[1:]) / 1e9


def bytes_per_token(backend: str, folder: Path) -> int:
    """Bytes of weights that one decoded token reads: all but the embedding table, of which it reads a row."""
    if backend == "llamacpp":
        from gguf import GGUFReader

        (file,) = folder.glob("*.gguf")
        return sum(int(tensor.n_bytes) for tensor in GGUFReader(file).tensors if tensor.name != "token_embd.weight")
    import onnx

    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    sizes = {
        tensor.name: next((int(item.value) for item in tensor.external_data if item.key == "length"), 0)
        for tensor in model.graph.initializer
    }
    gathered = {node.input[0] for node in model.graph.node if node.op_type.startswith("Gather")}
    return sum(size for name, size in sizes.items() if name not in gathered)


def compare(backend: str, ours: Path, other: Path, runs: int, bandwidth: float) -> dict[str, Any]:
    found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    for _ in range(runs):
        for who, folder in (("ours", ours), ("theirs", other)):
            found[who].append(measure(backend, folder, SETTINGS, {})["metrics"])
    middle = {who: {key: median(one[key] for one in all_) for key in SPEEDS} for who, all_ in found.items()}
    read = bytes_per_token(backend, ours)
    bound = 1e9 * bandwidth / read
    return {
        **middle,
        "ratio": {key: round(middle["ours"][key] / middle["theirs"][key], 3) for key in SPEEDS},
        "mb_per_token": round(read / 1e6),
        "bound_tokens_per_s": round(bound, 1),
        "fraction_of_bound": round(middle["ours"]["decode_tokens_per_s"] / bound, 3),
        "runs": runs,
    }


def made(backend: str, checkpoint: Path, root: Path, llama_cpp: Path | None) -> tuple[Path, Path]:
    """Our build and the reference tool's, of the same precision."""
    copy_project(root / "ours")
    recipe, more = RECIPES[backend]
    export, build = compose(root / "ours", checkpoint, recipe, backend, more)
    for name, key in (("fetch", "local"), ("convert", export), ("quantize", build)):
        stage(root / "ours", name, key)
    other = root / "theirs"
    other.mkdir()
    for command in theirs(backend, checkpoint, other, llama_cpp):
        run(command, other)
    (other / "whole.gguf").unlink(missing_ok=True)
    return root / "ours/artifacts/builds" / build, other


def bare_loop(backend: str, build: Path) -> Callable[[np.ndarray[Any, Any]], object]:
    """One window through the runtime's own API: what a first script would do."""
    if backend == "llamacpp":
        from llama_cpp import Llama

        (file,) = build.glob("*.gguf")
        model = Llama(str(file), n_ctx=1024, n_batch=1024, logits_all=True, verbose=False, n_threads_batch=threads())

        def evaluated(window: np.ndarray[Any, Any]) -> object:
            model.reset()
            return model.eval(window.tolist())

        return evaluated
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    session = onnxruntime.InferenceSession(str(build / "model.onnx"), options, providers=["CPUExecutionProvider"])
    empty = {
        item.name: np.zeros((1, item.shape[1], 0, item.shape[3]), np.float32)
        for item in session.get_inputs()
        if item.name.startswith("past")
    }
    return lambda window: session.run(
        ["logits"], {"input_ids": window[None], "attention_mask": np.ones((1, len(window)), np.int64), **empty}
    )


def evaluation(backend: str, build: Path, reference: Path, weights: Path) -> dict[str, float]:
    """Tokens per second over 16 of the evaluation's windows."""
    from pipeline import layout
    from pipeline.registry import load_backend
    from pipeline.steps.evaluate import _windows, read_reference

    ids = np.load(reference / layout.IDS)[:16]
    loop, states = bare_loop(backend, build), read_reference(reference / layout.HIDDEN, weights)
    kind = load_backend(backend)
    with kind.open(build) as session:
        batches = [ids[first : first + kind.batch] for first in range(0, len(ids), kind.batch)]
        work: dict[str, Callable[[], object]] = {
            "evaluate": lambda: _windows(ids, states, session.logits, kind.batch, lambda _: None),
            "forward_passes": lambda: [session.logits(batch) for batch in batches],
            "bare_loop": lambda: [loop(window) for window in ids],
        }
        seconds: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(4):
            for name, do in work.items():
                begun = time.perf_counter()
                do()
                seconds[name].append(time.perf_counter() - begun)
    speeds = {f"{name}_tokens_per_s": round(ids.size / median(found[1:])) for name, found in seconds.items()}
    return {**speeds, "ratio": round(speeds["evaluate_tokens_per_s"] / speeds["bare_loop_tokens_per_s"], 3)}


def shipped(root: Path, backend: str) -> dict[str, float]:
    """Evaluation's speed on the shipped model at int4."""
    copy_project(root)
    export, build = compose(root, ROOT / "models/phi-tiny", RECIPES[backend][0], backend)
    for name, key in (("fetch", "local"), ("reference", "local"), ("convert", export), ("quantize", build)):
        stage(root, name, key)
    artifacts = root / "artifacts"
    return evaluation(backend, artifacts / "builds" / build, artifacts / "references/local", ROOT / "models/phi-tiny")


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of our packages.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--backends", nargs="+", choices=["onnxruntime", "llamacpp"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None, help="a folder on a disk with room (default: beside it)")
    parser.add_argument("--llama-cpp", type=Path, default=None, help="a llama.cpp checkout")
    arguments = parser.parse_args()
    checkpoint = arguments.checkpoint.resolve()
    bandwidth = copy_bandwidth()
    result: dict[str, Any] = {
        "machine": machine_facts(),
        "checkpoint": checkpoint.name,
        "copy_gb_per_s": round(bandwidth, 1),
        "backends": {},
        "evaluation": {},
    }
    for backend in arguments.backends or ["onnxruntime", *(["llamacpp"] if arguments.llama_cpp else [])]:
        with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-", dir=arguments.work or checkpoint.parent) as folder:
            ours, other = made(backend, checkpoint, Path(folder), arguments.llama_cpp)
            result["backends"][backend] = compare(backend, ours, other, arguments.runs, bandwidth)
            result["evaluation"][backend] = shipped(Path(folder) / "shipped", backend)
        sys.stderr.write(f"{backend}: {json.dumps(result['backends'][backend])}\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
