"""quantize: an export under a recipe becomes a build, shared by all targets that can use its bytes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pipeline import layout
from pipeline.backends.base import Calibration
from pipeline.backends.registry import load_backend
from pipeline.errors import QualityError
from pipeline.files import fresh_folder, read_json, size_of, write_json
from pipeline.harness.disk import require_result
from pipeline.harness.outcome import why_skipped, why_unusable
from pipeline.harness.run import progress
from pipeline.matrix.sizes import build_size
from pipeline.model.checkpoint import EMBEDDING, open_checkpoint, parameters, read_headers
from pipeline.model.tokenizer import load_tokenizer, windows
from pipeline.types import JSON, Checkpoint, Family, Recipe, Status

CALIBRATION_WINDOWS = 16


def quantize(key: str, entry: JSON) -> str | None:
    """Write artifacts/builds/<key>, or the reason for which it was skipped."""
    settings = entry["quantize"]
    export = layout.export(entry["export"])
    skipped = why_skipped(export) or why_unusable(entry["backend"])
    with fresh_folder(layout.build(key)) as out:
        if skipped:
            write_json(out / layout.MANIFEST, {"status": Status.SKIPPED, "reason": skipped})
            return skipped
        recipe = Recipe(
            settings["recipe"],
            Family(settings["family"]),
            settings["method"],
            settings["form"],
            settings["settings"],
        )
        backend, shown = load_backend(entry["backend"]), progress(f"quantize@{key}")
        exported = read_json(export / layout.MANIFEST)
        if exported.get("deferred"):
            checkpoint = open_checkpoint(entry["model"], entry["weights"])
            require_result(layout.ARTIFACTS, _estimate(checkpoint, recipe))
            stats = backend.stream(checkpoint, exported["form"], recipe, _calibration(entry), out, shown)
        else:
            require_result(layout.ARTIFACTS, size_of(export))
            stats = backend.quantize(export, recipe, _calibration(entry), out, shown)
        if recipe.method != "none" and stats.operators == 0:
            raise QualityError(f"method {recipe.method} quantized nothing", where=key, hint="take another recipe")
        write_json(out / layout.MANIFEST, {"status": Status.OK, "reason": "", "quantization": asdict(stats)})
    return None


def _estimate(checkpoint: Checkpoint, recipe: Recipe) -> int:
    """Bytes that a streamed build takes."""
    tensors = read_headers(checkpoint.weights)
    return build_size(parameters(tensors), recipe.family, parameters(tensors, EMBEDDING))


def _calibration(entry: JSON) -> Calibration | None:
    wanted = entry["quantize"].get("calibration")
    if not wanted:
        return None
    count = entry["quantize"]["settings"].get("calibration_windows", CALIBRATION_WINDOWS)
    tokenizer = load_tokenizer(layout.model(entry["model"]))
    return Calibration(windows(tokenizer, Path(wanted["text"]), wanted["window"], wanted["window"] * count))
