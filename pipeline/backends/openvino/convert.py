"""Checkpoint → stateful OpenVINO IR with tokenizer and detokenizer, the folder `openvino_genai.LLMPipeline` runs."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.backends.openvino.files import LANGUAGE, MODEL, SIDE_FILES, copy_files, last_line, save_model
from pipeline.errors import PipelineError, ToolError
from pipeline.model.loading import load_model
from pipeline.model.tokenizer import PROBES, encode, load_tokenizer
from pipeline.pictures.tower import is_multimodal
from pipeline.types import Checkpoint

log = logging.getLogger(__name__)

DTYPES = {"fp16": "float16"}  # form precision → what weights are loaded and stored in; otherwise the checkpoint's own


def convert(checkpoint: Checkpoint, form: Mapping[str, Any], out: Path) -> None:
    """Write the IR for `form` {precision}. Raises ToolError with OpenVINO's last words.

    Weights keep the bytes that the checkpoint has (bf16 stays bf16: exact, and half of fp32); what is computed
    with them is the plugin's choice when it loads the model.
    """
    with traced(checkpoint, form) as model, _told(checkpoint):
        save_model(model, out / decoder_name(checkpoint))
    del model  # before what else is made takes memory
    write_side_files(checkpoint, out)


def decoder_name(checkpoint: Checkpoint) -> str:
    """What the decoder's IR is called."""
    return LANGUAGE if is_multimodal(checkpoint.folder) else MODEL


@contextmanager
def traced(checkpoint: Checkpoint, form: Mapping[str, Any]) -> Iterator[Any]:
    """The model for `form`, unsaved. Its weights are the module's: pages of the mapped shards, where types agree."""
    dtype = DTYPES.get(str(form["precision"]), str(checkpoint.config.get("dtype", "bfloat16")))
    with _told(checkpoint):
        from pipeline.backends.openvino.tracing import trace

        module = load_model(checkpoint.folder, checkpoint.weights, dtype)
        model = trace(module, embedded=is_multimodal(checkpoint.folder))
    yield model
    del module  # whose memory the model shares


def write_side_files(checkpoint: Checkpoint, out: Path) -> None:
    """Tokenizer, detokenizer and what else LLMPipeline's folder holds, or VLMPipeline's."""
    with _told(checkpoint):
        _write_tokenizer(checkpoint.folder, out)
    copy_files(checkpoint.folder, out, SIDE_FILES)
    if is_multimodal(checkpoint.folder):
        from pipeline.backends.openvino.pictures.parts import write_parts

        with _told(checkpoint):
            write_parts(checkpoint, out)


@contextmanager
def _told(checkpoint: Checkpoint) -> Iterator[None]:
    """What the tools print is kept for the log; what they raise is a ToolError of one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    except PipelineError:
        raise
    except Exception as error:  # torch, transformers and OpenVINO raise what they like
        log.debug("%s", said.getvalue())
        raise ToolError(
            f"OpenVINO's conversion failed: {type(error).__name__}: {last_line(error)}",
            where=f"openvino {checkpoint.model}",
            hint="PHI_DEPLOY_LOG=DEBUG shows all that it said",
        ) from error


def _write_tokenizer(folder: Path, out: Path) -> None:
    """The canonical tokenizer.json as OpenVINO models, held against it on the probes."""
    import openvino
    import openvino_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for made, name in zip(
        openvino_tokenizers.convert_tokenizer(tokenizer, with_detokenizer=True),
        ("tokenizer", "detokenizer"),
        strict=True,
    ):
        save_model(made, out / f"openvino_{name}.xml")
    compiled = openvino.Core().compile_model(out / "openvino_tokenizer.xml", "CPU")
    ours = load_tokenizer(folder)
    for probe in PROBES:
        read, right = compiled([probe])["input_ids"][0].tolist(), encode(ours, probe)
        if read != right:
            raise ToolError(
                f"OpenVINO's tokenizer reads {probe!r} as {read[:8]}…, tokenizer.json as {right[:8]}…",
                where=str(folder),
            )
