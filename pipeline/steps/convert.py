"""convert: a checkpoint in a backend's input form, shared by all its builds."""

from __future__ import annotations

from pipeline import layout
from pipeline.checkpoint import open_checkpoint, parameters, read_headers
from pipeline.disk import export_size, require_result
from pipeline.files import fresh_folder, read_json, write_json
from pipeline.outcome import why_unusable
from pipeline.registry import load_backend
from pipeline.types import JSON, Status

DEFER_ABOVE = 5e8  # bytes: a larger export is not written; each build reads the checkpoint (`Backend.stream`)


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
