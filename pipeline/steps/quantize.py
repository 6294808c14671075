"""quantize: an export under a recipe becomes a build, shared by all targets that can use its bytes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pipeline import layout
from pipeline.backends.base import Calibration
from pipeline.checkpoint import open_checkpoint, read_headers
from pipeline.errors import QualityError
from pipeline.files import fresh_folder, read_json, require_space, write_json
from pipeline.outcome import why_skipped, why_unusable
from pipeline.registry import load_backend
from pipeline.runtime import progress
from pipeline.tokenizer import load_tokenizer, windows
from pipeline.types import BITS, JSON, Checkpoint, Family, Recipe, Status

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
            require_space(layout.ARTIFACTS, _estimate(checkpoint, recipe))
            stats = backend.stream(checkpoint, exported["form"], recipe, _calibration(entry), out, shown)
        else:
            require_space(layout.ARTIFACTS, sum(path.stat().st_size for path in export.rglob("*") if path.is_file()))
            stats = backend.quantize(export, recipe, _calibration(entry), out, shown)
        if recipe.method != "none" and stats.operators == 0:
            raise QualityError(f"method {recipe.method} quantized nothing", where=key, hint="take another recipe")
        write_json(out / layout.MANIFEST, {"status": Status.OK, "reason": "", "quantization": asdict(stats)})
    return None


def _estimate(checkpoint: Checkpoint, recipe: Recipe) -> int:
    """Bytes that a streamed build takes, its 32-bit embedding counted as a tenth of the weights."""
    weights = sum(tensor.size for tensor in read_headers(checkpoint.weights).values()) // 2
    return int(weights * (BITS[recipe.family] + 3.2) / 8)


def _calibration(entry: JSON) -> Calibration | None:
    wanted = entry["quantize"].get("calibration")
    if not wanted:
        return None
    count = entry["quantize"]["settings"].get("calibration_windows", CALIBRATION_WINDOWS)
    tokenizer = load_tokenizer(layout.model(entry["model"]))
    return Calibration(windows(tokenizer, Path(wanted["text"]), wanted["window"], wanted["window"] * count))
