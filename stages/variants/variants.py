"""variants: what each format of each matrix takes and loses on a backend."""

from __future__ import annotations

from pathlib import Path

from pipeline import layout
from pipeline.backends.registry import load_backend
from pipeline.calibration.text import first_windows
from pipeline.entries import Variants
from pipeline.files import scratch_folder
from pipeline.found import Variants as Found
from pipeline.harness.run import progress
from pipeline.search.variants import variants as measured
from pipeline.types import Status


def variants(key: str, entry: Variants) -> Found:
    """Bits and relative errors of every matrix in every format."""
    folder = layout.model(entry.model)
    ids = first_windows(folder, entry.text, entry.windows)
    with scratch_folder(layout.variants(key)) as scratch:
        found = measured(
            load_backend(entry.backend),
            entry.form,
            entry.formats,
            folder,
            Path(entry.weights),
            ids,
            scratch,
            progress(f"variants@{key}"),
        )
    return Found(Status.OK, "", found)
