"""Checkpoint → GGUF: by llama.cpp's script where the user has a checkout, else by our writer."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

from pipeline.backends.base import Form
from pipeline.backends.llamacpp.files import MODEL, read_gguf
from pipeline.backends.llamacpp.writer import general_name, write_gguf
from pipeline.errors import ConfigError, ToolError
from pipeline.model.checkpoint import read_headers
from pipeline.model.loading import joined
from pipeline.types import Checkpoint

log = logging.getLogger(__name__)

SCRIPT = "convert_hf_to_gguf.py"


def convert(checkpoint: Checkpoint, form: Form, out: Path) -> None:
    """Write model.gguf for `form` {type: F32, F16, BF16 or auto; root: a llama.cpp checkout, or absent}.

    `auto` is the checkpoint's own type, as llama.cpp's script has it: nothing is lost, and nothing is stored twice.
    """
    kind = stored_type(checkpoint, form)
    if form.get("root"):
        _by_script(checkpoint, Path(form["root"]), kind, out / MODEL)
    else:
        write_gguf(checkpoint, kind, out / MODEL)
    read_gguf(out / MODEL)


def stored_type(checkpoint: Checkpoint, form: Form) -> str:
    """The form's type; `auto` is the one that keeps every value of the checkpoint."""
    if form["type"] != "auto":
        return str(form["type"])
    kinds = {tensor.dtype for tensor in read_headers(checkpoint.weights).values()}
    return kinds.pop() if kinds in ({"BF16"}, {"F16"}) else "F32"


def _by_script(checkpoint: Checkpoint, root: Path, kind: str, target: Path) -> None:
    script = root / SCRIPT
    if not script.is_file():
        raise ConfigError(f"there is no {SCRIPT}", where=f"backend.llamacpp.root {root}", hint="set it to a checkout")
    with joined(checkpoint.folder, checkpoint.weights) as source:
        command = [sys.executable, str(script), str(source), "--outfile", str(target), "--outtype", kind.lower()]
        command += ["--model-name", general_name(checkpoint)]
        done = subprocess.run(  # noqa: S603  # the user's own checkout
            command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    log.debug("%s", done.stderr)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise ToolError(f"{SCRIPT} failed: {lines[-1]}", where=str(root), hint="PHI_DEPLOY_LOG=DEBUG shows all it said")
