"""A build by way of an export that is gone afterwards: for methods that take nothing but a whole file."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.backends.base import Backend, Form, Order
from pipeline.files import require_space
from pipeline.matrix.sizes import export_size
from pipeline.model.checkpoint import parameters, read_headers
from pipeline.types import Checkpoint, QuantizationStats


def through_export(backend: Backend, checkpoint: Checkpoint, form: Form, order: Order) -> QuantizationStats:
    """`convert`, then `quantize`. The export lies inside `out`: a run that is killed leaves nothing elsewhere.

    Raises ArtifactError where the disk has no room for it.
    """
    require_space(order.out, export_size(parameters(read_headers(checkpoint.weights)), form))
    with TemporaryDirectory(dir=order.out, prefix="export-") as export:
        backend.convert(checkpoint, form, Path(export))
        return backend.quantize(Path(export), order)
