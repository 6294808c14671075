"""mlx-lm's quantizers: affine and microscaling formats, mixed recipes, GPTQ and DWQ."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipeline.backends.base import Calibration, Form, Order
from pipeline.backends.mlx.convert import converted
from pipeline.backends.mlx.files import import_mlx, load_folder, save_folder
from pipeline.backends.mlx.slabs import in_slabs
from pipeline.errors import ConfigError, PipelineError, ToolError, first_line
from pipeline.types import Checkpoint

Folder = tuple[Any, dict[str, Any]]  # model and config
LEARNING_RATE = 1e-5  # mlx_lm.dwq's 1e-6 is for thousands of samples; on a calibration split bf16 rounds it away


def quantize(export: Path, order: Order) -> None:
    """Write the quantized folder of an export. Raises as `quantized` does."""
    folder = quantized(lambda: load_folder(export), order, str(export))
    save_folder(*folder, export, order.out)
    order.progress(1, 1)


def stream(checkpoint: Checkpoint, form: Form, order: Order) -> None:
    """Write the quantized folder of a checkpoint: a shard's weights are read, cast and packed while it is saved."""
    with ExitStack() as opened:

        def load() -> Folder:
            return opened.enter_context(converted(checkpoint, form))

        folder = quantized(load, order, checkpoint.model)
        save_folder(*folder, checkpoint.folder, order.out)
    order.progress(1, 1)


def quantized(load: Callable[[], Folder], order: Order, where: str) -> Folder:
    """What `load` loads, quantized. Raises ToolError with mlx-lm's words, ConfigError for missing calibration data."""
    import_mlx()
    settings, calibration = order.recipe.settings, order.calibration
    if (settings.get("gptq") or settings.get("dwq")) and calibration is None:
        raise ConfigError("this recipe needs calibration data", hint="set evaluate.calibration")
    model, config = load()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            if settings.get("gptq"):
                model, config = _gptq(model, config, settings, calibration)
            else:
                model, config = _plain(model, config, settings)
            if settings.get("dwq"):
                _dwq(load()[0], model, str(config["dtype"]), calibration, int(settings.get("seed", 0)))
    except PipelineError:
        raise
    except Exception as error:  # mlx raises ValueError and RuntimeError with all it knows
        raise ToolError(f"mlx-lm cannot quantize it: {first_line(error)}", where=where) from error
    return model, config


def _plain(model: Any, config: dict[str, Any], settings: Mapping[str, Any]) -> Folder:
    from mlx_lm.convert import mixed_quant_predicate_builder
    from mlx_lm.utils import quantize_model

    group, predicate = settings.get("group_size"), None
    if settings.get("mixed"):
        predicate = mixed_quant_predicate_builder(settings["mixed"], model, group or 64)
    mode = settings.get("mode", "affine")
    with in_slabs():
        made: Folder = quantize_model(model, config, group, settings.get("bits"), mode=mode, quant_predicate=predicate)
    return made


def _gptq(model: Any, config: dict[str, Any], settings: Mapping[str, Any], calibration: Calibration | None) -> Folder:
    """GPTQ (Frantar et al. 2022) for every linear layer; the embedding gets `embedding_bits`."""
    from mlx_lm.quant.gptq import gptq_quantize

    mx = import_mlx()
    group = settings.get("group_size", 64)
    ids = mx.array(calibration.ids) if calibration else None
    model, quantization = gptq_quantize(
        model, ids, settings["bits"], group, settings.get("embedding_bits", 6), group, batch_size=4
    )
    return model, {**config, "quantization": quantization}


def _dwq(teacher: Any, model: Any, dtype: str, calibration: Calibration | None, seed: int) -> None:
    """Distilled weight quantization: scales and biases are trained to give the teacher's distribution."""
    import mlx.optimizers as optimizers
    from mlx_lm.quant.dwq import dwq_quantize

    mx = import_mlx()
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
        seed=seed,
        dtype=mx.float32,
    )
    model.set_dtype(getattr(mx, dtype))
