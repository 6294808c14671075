"""quantize: an export under a recipe becomes a build, shared by all targets that can use its bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline import layout
from pipeline.backends.base import Calibration, Order
from pipeline.backends.registry import load_backend
from pipeline.calibration.text import calibration_ids
from pipeline.entries import Quantize
from pipeline.errors import ArtifactError, QualityError
from pipeline.files import read_json, size_of, write_json
from pipeline.harness.disk import require_result
from pipeline.harness.kept import Kept, made_of
from pipeline.harness.outcome import read_ok
from pipeline.harness.run import progress
from pipeline.matrix.sizes import build_size, sight_size
from pipeline.model.checkpoint import EMBEDDING, elements, open_checkpoint, parameters, read_headers, stored_parameters
from pipeline.packaging.manifest import sha256
from pipeline.pictures.tower import tower_parameters
from pipeline.records import Build, Export
from pipeline.types import Checkpoint, QuantizationStats, Recipe, Status


def quantize(key: str, entry: Quantize, out: Path) -> Build:
    """Write the build into `out`. Raises QualityError when a recipe quantized nothing."""
    recipe, export, backend = _told(key, entry.recipe), layout.export(entry.export), load_backend(entry.backend)
    exported = read_ok(Export, export)
    tensors = read_headers(Path(entry.weights))
    count = stored_parameters(tensors)
    checkpoint = open_checkpoint(entry.model, entry.weights)
    order = Order(recipe, _calibration(entry), out, progress(f"quantize@{key}"), count, checkpoint)
    if (found := _found(key, entry, recipe, out)) is not None:
        stats = found
    elif exported.deferred:
        require_result(layout.ARTIFACTS, _estimate(checkpoint, recipe))
        stats = backend.stream(checkpoint, exported.form, order)
    else:
        require_result(layout.ARTIFACTS, size_of(export))
        stats = backend.quantize(export, order)
    if recipe.method != "none" and stats.operators == 0:
        raise QualityError(f"method {recipe.method} quantized nothing", where=key, hint="take another recipe")
    return Build(Status.OK, "", stats, _kept(recipe, out))


def _found(key: str, entry: Quantize, recipe: Recipe, out: Path) -> QuantizationStats | None:
    """The build that the search made on its way, if it is still there."""
    if entry.recipe.settings.get("table") != "fit":
        return None
    of = made_of(key, entry.export, entry.weights, entry.calibration, recipe.settings["table"])
    return Kept(key).take(of, out)


def _kept(recipe: Recipe, out: Path) -> str:
    """The digest of the recipe's table of formats, which is written beside what was made by it."""
    table = recipe.settings.get("table")
    if not table:
        return ""
    write_json(out / layout.FORMATS, dict(sorted(table.items())))
    return sha256(out / layout.FORMATS)


def _told(key: str, recipe: Recipe) -> Recipe:
    """The recipe with its table of formats: the one that was found for this build, or that of a file.

    Raises ArtifactError for a file that holds none.
    """
    named = recipe.settings.get("table")
    if not named:
        return recipe
    path = layout.fit(key) if named == "fit" else Path(named)
    found = read_json(path)
    table = found.get("table", found) if isinstance(found, dict) else None
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise ArtifactError("no table of formats: {matrix: format}", where=path.as_posix())
    return replace(recipe, settings={**recipe.settings, "table": table})


def _estimate(checkpoint: Checkpoint, recipe: Recipe) -> int:
    """Bytes that a streamed build takes."""
    tensors = read_headers(checkpoint.weights)
    embedding = elements(tensors, EMBEDDING)
    beside = sight_size(tower_parameters(checkpoint.folder), embedding)
    return build_size(parameters(tensors), recipe.family, embedding) + beside


def _calibration(entry: Quantize) -> Calibration | None:
    if entry.calibration is None:
        return None
    return Calibration(calibration_ids(layout.model(entry.model), entry.calibration, entry.recipe.settings))
