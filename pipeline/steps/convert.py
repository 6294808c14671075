"""convert: a checkpoint in a backend's input form, shared by all its builds."""

from __future__ import annotations

from pipeline import layout
from pipeline.checkpoint import open_checkpoint, read_headers
from pipeline.files import fresh_folder, read_json, require_space, write_json
from pipeline.outcome import why_unusable
from pipeline.registry import load_backend
from pipeline.types import JSON, Status

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
DEFER_ABOVE = 2e9  # bytes: a larger export is not written where the backend streams; each build reads the checkpoint


def convert(key: str, entry: JSON) -> str | None:
    """Write artifacts/exports/<key>, or the reason for which it was skipped."""
    checkpoint = open_checkpoint(entry["model"], entry["weights"])
    form = entry["convert"]["form"]
    skipped = why_unusable(entry["backend"], without=entry["convert"]["without"])
    with fresh_folder(layout.export(key)) as out:
        if skipped:
            write_json(out / layout.MANIFEST, {"status": Status.SKIPPED, "reason": skipped})
            return skipped
        stored = sum(tensor.size for tensor in read_headers(checkpoint.weights).values())
        size = stored // 2 * BYTES.get(str(form.get("precision")), 4)
        backend = load_backend(entry["backend"])
        said = {"status": Status.OK, "reason": "", "form": form}
        if backend.streams and size > DEFER_ABOVE:
            weights = read_json(layout.model(entry["model"]) / layout.MANIFEST)["weights"]
            write_json(out / layout.MANIFEST, {**said, "deferred": True, "weights": weights})
            return None
        require_space(layout.ARTIFACTS, size)
        backend.convert(checkpoint, form, out)
        write_json(out / layout.MANIFEST, said)
    return None
