"""Checkpoint → ONNX, by ONNX Runtime GenAI's model builder, in this process and offline."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.backends.base import Form
from pipeline.backends.onnxruntime.builder import Save, build
from pipeline.backends.onnxruntime.files import CONFIG, MODEL, TOKENIZER, copy_side_files
from pipeline.errors import PipelineError, ToolError, telling_line
from pipeline.model.loading import joined
from pipeline.model.rope import attention_factor, rope_of
from pipeline.pictures.tower import is_multimodal
from pipeline.types import Checkpoint


def convert(checkpoint: Checkpoint, form: Form, out: Path, save: Save | None = None) -> None:
    """Write the builder's folder for `form` {precision, provider}. Raises ToolError with the builder's last words.

    `save` writes the graph and its weights in the builder's place, from tensors that are read when they are asked
    for. Provider options are cleared, so that every form runs on the CPU provider; the canonical tokenizer takes
    the place of the one that the builder saved again.
    """
    config = checkpoint.config
    scale = attention_factor(rope_of(config), config["max_position_embeddings"])
    with joined(checkpoint.folder, checkpoint.weights) as folder:
        try:
            build(str(folder), str(out), form, save, scale, embedded=is_multimodal(checkpoint.folder))
        except PipelineError:
            raise
        except Exception as error:  # the builder raises whatever its libraries raise
            raise ToolError(
                f"the model builder failed: {type(error).__name__}: {telling_line(error)}",
                where=f"onnxruntime {checkpoint.model}",
                hint="PHI_DEPLOY_LOG=DEBUG shows all that it said",
            ) from error
    if not (out / MODEL).is_file():
        raise ToolError(f"the model builder wrote no {MODEL}", where=f"onnxruntime {checkpoint.model}")
    for name in TOKENIZER:
        (out / name).unlink(missing_ok=True)
    copy_side_files(checkpoint.folder, out)
    _write_config(checkpoint, out)
    if is_multimodal(checkpoint.folder):
        from pipeline.backends.onnxruntime.pictures.parts import write_parts

        write_parts(checkpoint, form, out)


def _write_config(checkpoint: Checkpoint, out: Path) -> None:
    """No provider options; the context capped at the sliding window, which the builder drops."""
    path = out / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"]["decoder"]["session_options"]["provider_options"] = []
    window = checkpoint.config.get("sliding_window")
    length = config["model"]["context_length"]
    if window and window < length:
        config["model"]["context_length"] = window
        config["search"]["max_length"] = min(config["search"]["max_length"], window)
    path.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")
