"""The files of an MLX model folder, and how it is loaded and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactError, ToolError, first_line
from pipeline.files import copy_file, write_json

SIDE_FILES = (
    "generation_config.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "vocab.json",
)
SHARD_GB = 1


def import_mlx() -> Any:
    """mlx.core. Raises ToolError where the installed build has nothing to run on."""
    try:
        import mlx.core as mx
    except ImportError as error:
        raise ToolError(
            f"mlx cannot start here: {first_line(error)}",
            where="backend mlx",
            hint="on Linux it needs its CPU back end: run make install (or: pip install mlx-cpu)",
        ) from None
    return mx


def load_folder(folder: Path) -> tuple[Any, dict[str, Any]]:
    """(model, config) of a folder, weights not yet read. Raises ArtifactError with mlx-lm's words."""
    import_mlx()
    from mlx_lm.utils import load_model

    try:
        model, config = load_model(folder, lazy=True)
    except Exception as error:  # mlx and mlx-lm raise what they like
        raise ArtifactError(f"mlx-lm cannot load it: {first_line(error)}", where=str(folder)) from error
    return model, config


def save_folder(model: Any, config: dict[str, Any], source: Path, out: Path) -> None:
    """Weights, config and the canonical tokenizer: the same bytes whichever version of transformers is installed.

    mlx-lm's own save writes a model card and saves the tokenizer again, both of which vary. Raises ToolError
    when `out` holds a model.
    """
    if any(out.glob("*.safetensors")):
        raise ToolError("the output folder holds a model already", where=str(out), hint="remove it, or take another")
    _save_weights(model, out)
    kept = {name: value for name, value in config.items() if name not in ("_name_or_path", "vision_config")}
    if "quantization" in kept:
        kept["quantization_config"] = kept["quantization"]
    write_json(out / "config.json", dict(sorted(kept.items())))
    copy_side_files(source, out)


def _save_weights(model: Any, out: Path) -> None:
    """mlx-lm's shards and index, of 1 GB instead of 5, evaluated array by array; the model is used up.

    Evaluated as a whole, a shard's inputs are all read ahead.
    """
    from mlx.utils import tree_flatten, tree_map
    from mlx_lm.utils import get_total_parameters, make_shards

    mx = import_mlx()
    shards = make_shards(dict(tree_flatten(model.parameters())), SHARD_GB)
    size = sum(array.nbytes for shard in shards for array in shard.values())
    metadata = {"total_size": size, "total_parameters": get_total_parameters(model)}
    model.update(tree_map(lambda _: mx.array([]), model.parameters()))
    places: dict[str, str] = {}
    for number in range(1, len(shards) + 1):
        shard, shards[number - 1] = shards[number - 1], {}
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        for array in shard.values():
            mx.eval(array)
        mx.save_safetensors(str(out / name), shard, metadata={"format": "mlx"})
        places |= dict.fromkeys(shard, name)
        del array, shard
    index = json.dumps({"metadata": metadata, "weight_map": dict(sorted(places.items()))}, indent=4)
    (out / "model.safetensors.index.json").write_text(index, encoding="utf-8", newline="\n")


def copy_side_files(source: Path, out: Path) -> None:
    for name in SIDE_FILES:
        if (source / name).is_file():
            copy_file(source / name, out / name)


def copy_model(source: Path, out: Path) -> None:
    for path in [source / "config.json", *sorted(source.glob("model*.safetensors*"))]:
        copy_file(path, out / path.name)


def quantization_of(folder: Path) -> dict[str, Any]:
    """config.json's quantization: defaults, and what some layers have otherwise."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = config.get("quantization") or {}
    return found
