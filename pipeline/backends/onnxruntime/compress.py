"""NNCF weight compression of an ONNX decoder; ONNX Runtime fuses its int4 form into MatMulNBits when it loads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.backends.base import Calibration
from pipeline.backends.onnxruntime.files import DATA, MODEL
from pipeline.errors import ConfigError, ToolError
from pipeline.recipes import DATA_AWARE, WEIGHT_ERROR

GROUPED = ("int4_sym", "int4_asym", "nf4", "mxfp4")


def compress(export: Path, out: Path, settings: Mapping[str, Any], calibration: Calibration | None) -> None:
    """Write the compressed model. Raises ToolError with NNCF's words, ConfigError for what it cannot do here."""
    if settings.get("gptq"):
        raise ConfigError("NNCF has no GPTQ for ONNX models", hint="set gptq: false, or take the openvino backend")
    os.environ.setdefault("NNCF_CI", "1")  # its switch for telemetry
    import nncf
    import onnx

    nncf.set_log_level(40)
    mode = nncf.CompressWeightsMode(settings["mode"])
    options: dict[str, Any] = {word: True for word in DATA_AWARE - {"gptq"} if settings.get(word)}
    if settings["mode"] in GROUPED:
        options |= {"group_size": settings.get("group_size", -1), "ratio": float(settings.get("ratio", 1.0))}
    metric = settings.get("sensitivity_metric", WEIGHT_ERROR)
    if metric != WEIGHT_ERROR:
        options["sensitivity_metric"] = nncf.SensitivityMetric(metric)
    if options.keys() & DATA_AWARE or metric != WEIGHT_ERROR:
        options |= {"dataset": _dataset(export, calibration), "subset_size": len(calibration.ids) if calibration else 0}
    try:
        model = nncf.compress_weights(onnx.load(export / MODEL), mode=mode, **options)
    except Exception as error:  # NNCF raises its own and its backends' types
        raise ToolError(f"NNCF failed: {str(error).splitlines()[0]}", where=str(export)) from error
    onnx.save_model(model, out / MODEL, save_as_external_data=True, location=DATA, size_threshold=1024)


def _dataset(export: Path, calibration: Calibration | None) -> Any:
    import nncf

    from pipeline.backends.onnxruntime.session import OnnxSession

    if calibration is None:
        raise ConfigError("this recipe needs calibration data", hint="set evaluate.calibration")
    session = OnnxSession(export)
    return nncf.Dataset([session.feed(window[None, :]) for window in calibration.ids])
