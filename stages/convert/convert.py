"""convert: a checkpoint in a backend's input form, shared by all its builds."""

from __future__ import annotations

from pipeline import layout
from pipeline.backends.registry import load_backend
from pipeline.files import fresh_folder, read_json, write_json
from pipeline.harness.disk import require_result
from pipeline.harness.outcome import why_unusable
from pipeline.matrix.sizes import DEFER_ABOVE, export_size
from pipeline.model.checkpoint import open_checkpoint, parameters, read_headers
from pipeline.types import JSON, Status


def convert(key: str, entry: JSON) -> str | None:
    """Write artifacts/exports/<key>, or the reason for which it was skipped."""
    checkpoint = open_checkpoint(entry["model"], entry["weights"])
    form = entry["convert"]["form"]
    skipped = why_unusable(entry["backend"], without=entry["convert"]["without"])
    with fresh_folder(layout.export(key)) as out:
        if skipped:
            write_json(out / layout.MANIFEST, {"status": Status.SKIPPED, "reason": skipped})
            return skipped
        size = export_size(parameters(read_headers(checkpoint.weights)), form)
        said = {"status": Status.OK, "reason": "", "form": form}
        if size > DEFER_ABOVE:
            weights = read_json(layout.model(entry["model"]) / layout.MANIFEST)["weights"]
            write_json(out / layout.MANIFEST, {**said, "deferred": True, "weights": weights})
            return None
        require_result(layout.ARTIFACTS, size)
        load_backend(entry["backend"]).convert(checkpoint, form, out)
        write_json(out / layout.MANIFEST, said)
    return None
