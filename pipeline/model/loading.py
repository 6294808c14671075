"""A checkpoint as transformers loads it: canonical config beside the shards, offline, safetensors alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError, telling_line
from pipeline.files import link_or_copy
from pipeline.model.checkpoint import INDEX, SINGLE, shard_names


@contextmanager
def joined(folder: Path, weights: Path) -> Iterator[Path]:
    """A temporary folder with everything a Hugging Face tool looks for; files are links where links can be had."""
    with tempfile.TemporaryDirectory(prefix="phi-deploy-") as temporary:
        place = Path(temporary) / folder.name  # tools read a model's name from it
        place.mkdir()
        for path in folder.iterdir():
            if path.is_file() and path.suffix != ".safetensors":
                link_or_copy(path, place / path.name)
        names = shard_names(weights)
        for name in [*names, *([INDEX] if names != [SINGLE] else [])]:
            if not (place / name).exists():
                link_or_copy(weights / name, place / name)
        yield place


def load_model(folder: Path, weights: Path, dtype: str, trust_remote_code: bool = False) -> Any:
    """The torch module in evaluation mode, in `dtype`. Raises CheckpointError with transformers' words."""
    from transformers import AutoModelForCausalLM

    with joined(folder, weights) as place:
        try:
            model = AutoModelForCausalLM.from_pretrained(
                place,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
            )
        except Exception as error:  # it raises ImportError, AssertionError, its validators' own types, and others
            raise CheckpointError(f"transformers cannot load it: {telling_line(error)}", where=str(weights)) from error
        return model.eval()
