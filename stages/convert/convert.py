"""convert: a checkpoint in a backend's input form, shared by all its builds."""

from __future__ import annotations

from pathlib import Path

from pipeline import layout
from pipeline.backends.registry import load_backend
from pipeline.entries import Convert
from pipeline.errors import CheckpointError
from pipeline.files import read_json
from pipeline.harness.disk import require_result
from pipeline.matrix.sizes import DEFER_ABOVE, export_size, sight_size
from pipeline.model.canonical import traits, unhonoured
from pipeline.model.checkpoint import EMBEDDING, elements, open_checkpoint, parameters, read_headers
from pipeline.pictures.tower import tower_parameters
from pipeline.records import Export
from pipeline.types import Status


def convert(key: str, entry: Convert, out: Path) -> Export:
    """Write the model in the backend's form into `out`; of a large one, only that it is left to each build."""
    checkpoint = open_checkpoint(entry.model, entry.weights)
    odd = unhonoured(traits(checkpoint.config), entry.honours, entry.backend)
    if odd:  # of a hub model, which planning had not seen
        raise CheckpointError(odd, where=f"model {entry.model}", hint=f"leave out {entry.backend}")
    tensors = read_headers(checkpoint.weights)
    size = export_size(parameters(tensors), entry.form)
    if size > DEFER_ABOVE:
        weights = read_json(layout.model(entry.model) / layout.MANIFEST)["weights"]
        return Export(Status.OK, "", entry.form, deferred=True, weights=weights)
    require_result(
        layout.ARTIFACTS, size + sight_size(tower_parameters(checkpoint.folder), elements(tensors, EMBEDDING))
    )
    load_backend(entry.backend).convert(checkpoint, entry.form, out)
    return Export(Status.OK, "", entry.form)
