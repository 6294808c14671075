"""quantize: an export under a recipe becomes a build, shared by all targets that can use its bytes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pipeline import layout
from pipeline.backends.base import Calibration
from pipeline.errors import QualityError
from pipeline.files import fresh_folder, require_space, write_json
from pipeline.outcome import why_skipped, why_unusable
from pipeline.registry import load_backend
from pipeline.runtime import progress
from pipeline.tokenizer import load_tokenizer, windows
from pipeline.types import JSON, Family, Recipe, Status

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
        require_space(layout.ARTIFACTS, sum(path.stat().st_size for path in export.rglob("*") if path.is_file()))
        backend = load_backend(entry["backend"])
        stats = backend.quantize(export, recipe, _calibration(entry), out, progress(f"quantize@{key}"))
        if recipe.method != "none" and stats.operators == 0:
            raise QualityError(f"method {recipe.method} quantized nothing", where=key, hint="take another recipe")
        write_json(out / layout.MANIFEST, {"status": Status.OK, "reason": "", "quantization": asdict(stats)})
    return None


def _calibration(entry: JSON) -> Calibration | None:
    wanted = entry["quantize"].get("calibration")
    if not wanted:
        return None
    count = entry["quantize"]["settings"].get("calibration_windows", CALIBRATION_WINDOWS)
    tokenizer = load_tokenizer(layout.model(entry["model"]))
    return Calibration(windows(tokenizer, Path(wanted["text"]), wanted["window"], wanted["window"] * count))
