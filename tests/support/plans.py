"""Plans and results by hand, for tests of what is made of them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pipeline.entries import Benchmark, Convert, Evaluate, Fetch, Package, Quantize, Reference
from pipeline.planned import BackendLook, BuildEntry, CellEntry, ExportEntry, ModelEntry, Plan
from pipeline.records import Quality
from pipeline.types import Family, Recipe

LOOKS = {
    "onnxruntime": BackendLook("ONNX", "#0072B2"),
    "openvino": BackendLook("OpenVINO IR", "#D55E00"),
    "llamacpp": BackendLook("GGUF", "#009E73"),
    "mlx": BackendLook("MLX", "#CC79A7"),
}


def empty_plan() -> Plan:
    return Plan({}, {}, {}, {}, {}, dict(LOOKS))


def add_cell(plan: Plan, model: str, precision: str, backend: str, target: str, **gates: float) -> str:
    """A cell and all that it needs; ids as planning makes them."""
    export = f"{model}_{backend}_fp32"
    build, cell = f"{model}_{precision}_{backend}", f"{model}_{precision}_{backend}_{target}"
    weights = f"models/{model}"
    family, _, name = precision.partition("-")
    recipe = Recipe(name or "default", Family(family), "rtn", "fp32", {"bits": 4})
    reference = Reference(weights, "text.txt", "", 512, 20480, 0, 4, 24, False)
    plan.models[model] = ModelEntry(weights, weights, "text.txt", "", Fetch(weights, "", "", False), reference)
    convert = Convert(model, backend, weights, {"provider": "cpu", "precision": "fp32"}, {}, {"onnx": "1.23.2"}, ())
    plan.exports[export] = ExportEntry(model, backend, weights, convert)
    quantize = Quantize(model, backend, export, weights, recipe, None)
    evaluate = Evaluate(model, backend, weights, Family(family), 24, 0, 0)
    plan.builds[build] = BuildEntry(model, backend, export, weights, weights, weights, quantize, evaluate)
    package = Package(
        model=model,
        backend=backend,
        build=build,
        weights=weights,
        precision=precision,
        recipe=recipe,
        target=target,
        device="",
        license="mit",
        source=model,
        library=backend,
        tags=("phi3",),
        windows=0,
        questions=0,
        options={},
        run="",
    )
    benchmark = Benchmark(backend, "", 128, 64, 1, 5, 0, 0.5)
    plan.cells[cell] = CellEntry(model, backend, build, precision, gates, package, benchmark)
    return cell


def evaluation(**changes: Any) -> dict[str, Any]:
    """A whole evaluation.json of two windows; `changes` replace fields, and those of `metrics` one by one."""
    columns = {
        "tokens": [511, 511],
        "nll": [511.0, 511.0],
        "kl": [5.11, 5.11],
        "top1": [500, 500],
        "delta_p_squares": [0.1, 0.1],
        "kl_max": [0.5, 0.5],
    }
    metrics = {**dict.fromkeys(field.name for field in fields(Quality)), **changes.pop("metrics", {})}
    return {
        "status": "ok",
        "reason": "",
        "metrics": metrics,
        "reasons": {},
        "reference": {"perplexity": 6.0, "task_accuracy": None, "nll": [], "answered_right": [], "answers": []},
        "windows": columns,
        "windows_default_mode": columns,
        "tails": {name: [0.01, 0.01] for name in ("p50", "p90", "p99", "p999")},
        "answered_right": [],
        "answers": [],
        "computed_in": {"accuracy": {}},
        "decode": {"tokens": 8, "agreement": 1.0, "worst_gap": 0.0, "prompt": [1], "continuation": [2]},
        "data": {"text.txt": "cd" * 32},
        **changes,
    }


def packaged(cell: str, **changes: Any) -> dict[str, Any]:
    """A whole record of a package."""
    return {
        "status": "ok",
        "reason": "",
        "path": f"packages/{cell}",
        "size_bytes": 1000,
        "sha256": "ab" * 32,
        "bits_per_weight": 5.2,
        "quantization": {"operators": 5, "bits_per_weight": 5.2, "kept": {}},
        **changes,
    }


def measured(**changes: Any) -> dict[str, Any]:
    """What a benchmark measured, without status and origin; `metrics` must be given."""
    return {
        "extra": {},
        "runs": {},
        "threads": 2,
        "prompt_tokens": 128,
        "new_tokens": 64,
        "load_before": 0.0,
        "load_after": 0.0,
        "noisy": False,
        "machine": {"cpu": "a CPU"},
        **changes,
    }
