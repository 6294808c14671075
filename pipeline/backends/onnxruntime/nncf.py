"""NNCF weight compression of an ONNX decoder; ONNX Runtime fuses its int4 form into MatMulNBits when it loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.backends.base import Order
from pipeline.backends.nncf import compress_weights
from pipeline.backends.onnxruntime.files import DATA, MODEL
from pipeline.backends.onnxruntime.session import OnnxSession


def compress(export: Path, order: Order) -> None:
    """Write the compressed model. Raises ToolError with NNCF's words."""
    import onnx

    session: list[OnnxSession] = []

    def feed(ids: Any) -> Any:
        session.extend([] if session else [OnnxSession(export)])
        return session[0].feed(ids)

    model = compress_weights(onnx.load(export / MODEL), order.recipe.settings, order.calibration, feed, str(export))
    onnx.save_model(model, order.out / MODEL, save_as_external_data=True, location=DATA, size_threshold=1024)
