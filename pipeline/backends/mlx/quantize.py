"""mlx-lm's quantizers: affine and microscaling formats, mixed recipes, GPTQ and DWQ."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.backends.base import Calibration, Progress
from pipeline.backends.mlx.files import import_mlx, load_folder, save_folder
from pipeline.errors import ConfigError, PipelineError, ToolError

LEARNING_RATE = 1e-5  # mlx_lm.dwq's 1e-6 is for thousands of samples; on a calibration split bf16 rounds it away


def quantize(
    export: Path, out: Path, settings: Mapping[str, Any], calibration: Calibration | None, progress: Progress
) -> None:
    """Write the quantized folder. Raises ToolError with mlx-lm's words, ConfigError for missing calibration data."""
    import_mlx()
    if (settings.get("gptq") or settings.get("dwq")) and calibration is None:
        raise ConfigError("this recipe needs calibration data", hint="set evaluate.calibration")
    model, config = load_folder(export)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            if settings.get("gptq"):
                model, config = _gptq(model, config, settings, calibration)
            else:
                model, config = _plain(model, config, settings)
            if settings.get("dwq"):
                _dwq(export, model, str(config["dtype"]), calibration)
    except PipelineError:
        raise
    except Exception as error:  # mlx raises ValueError and RuntimeError with all it knows
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ToolError(f"mlx-lm cannot quantize it: {lines[0]}", where=str(export)) from error
    save_folder(model, config, export, out)
    progress(1, 1)


def _plain(model: Any, config: dict[str, Any], settings: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    from mlx_lm.convert import mixed_quant_predicate_builder
    from mlx_lm.utils import quantize_model

    group, predicate = settings.get("group_size"), None
    if settings.get("mixed"):
        predicate = mixed_quant_predicate_builder(settings["mixed"], model, group or 64)
    mode = settings.get("mode", "affine")
    quantized: tuple[Any, dict[str, Any]] = quantize_model(
        model, config, group, settings.get("bits"), mode=mode, quant_predicate=predicate
    )
    return quantized


def _gptq(
    model: Any, config: dict[str, Any], settings: Mapping[str, Any], calibration: Calibration | None
) -> tuple[Any, dict[str, Any]]:
    """GPTQ (Frantar et al. 2022) for every linear layer; the embedding gets `embedding_bits`."""
    from mlx_lm.quant.gptq import gptq_quantize

    mx = import_mlx()
    group = settings.get("group_size", 64)
    ids = mx.array(calibration.ids) if calibration else None
    model, quantization = gptq_quantize(
        model, ids, settings["bits"], group, settings.get("embedding_bits", 6), group, batch_size=4
    )
    return model, {**config, "quantization": quantization}


def _dwq(export: Path, model: Any, dtype: str, calibration: Calibration | None) -> None:
    """Distilled weight quantization: scales and biases are trained to give the full model's distribution."""
    import mlx.optimizers as optimizers
    from mlx_lm.quant.dwq import dwq_quantize

    mx = import_mlx()
    teacher, _ = load_folder(export)
    windows = [(window.tolist(), 0) for window in (calibration.ids if calibration else [])]
    held_out = max(1, len(windows) // 8)
    dwq_quantize(
        model,
        lambda batch, *_, **__: teacher(batch),
        optimizers.Adam(learning_rate=LEARNING_RATE, bias_correction=True),
        windows[held_out:],
        windows[:held_out],
        batch_size=1,
        max_seq_length=len(windows[0][0]),
        seed=0,
        dtype=mx.float32,
    )
    model.set_dtype(getattr(mx, dtype))
