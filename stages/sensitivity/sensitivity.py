"""sensitivity: what an error in each matrix of a model costs, once per model and shared by all backends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import layout
from pipeline.calibration.text import first_windows
from pipeline.entries import Sensitivity
from pipeline.errors import ConfigError, suggest
from pipeline.files import scratch_folder
from pipeline.found import Sensitivity as Found
from pipeline.harness.run import progress
from pipeline.search.run import Progress
from pipeline.search.sensitivity import fisher, insertion, noisy, rounded
from pipeline.types import Status

Way = Callable[[Path, Path, NDArray[np.int64], Path, int, Progress], dict[str, float]]

WAYS: dict[str, Way] = {
    "rounding": partial(insertion, error=rounded),
    "noise": partial(insertion, error=noisy),
    "fisher": fisher,
}


def sensitivity(key: str, entry: Sensitivity) -> Found:
    """Nats for a relative squared error of every matrix's outputs. Raises ConfigError for an unknown way."""
    if entry.way not in WAYS:
        raise ConfigError(f"unknown way '{entry.way}'", where="search.sensitivity", hint=suggest(entry.way, WAYS))
    folder = layout.model(key)
    ids = first_windows(folder, entry.text, entry.windows)
    with scratch_folder(layout.sensitivity(key)) as scratch:
        found = WAYS[entry.way](folder, Path(entry.weights), ids, scratch, entry.seed, progress(f"sensitivity@{key}"))
    return Found(Status.OK, "", found, int(ids.size), entry.way)
