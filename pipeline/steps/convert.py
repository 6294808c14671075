"""convert: a checkpoint in a backend's input form, shared by all its builds."""

from __future__ import annotations

from pipeline import layout
from pipeline.checkpoint import open_checkpoint, read_headers
from pipeline.files import fresh_folder, require_space, write_json
from pipeline.outcome import why_unusable
from pipeline.registry import load_backend
from pipeline.types import JSON, Status

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


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
        require_space(layout.ARTIFACTS, stored // 2 * BYTES.get(str(form.get("precision")), 4))
        load_backend(entry["backend"]).convert(checkpoint, form, out)
        write_json(out / layout.MANIFEST, {"status": Status.OK, "reason": "", "form": form})
    return None
