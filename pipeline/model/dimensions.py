"""What planning must know of a model: its shape. From config.json of a local folder, else from conf/."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError, ConfigError
from pipeline.model.adapted import changes_of
from pipeline.model.adapter import read_adapter
from pipeline.model.architectures import ARCHITECTURES
from pipeline.model.canonical import POSITIVE, canonical_config, refuse_quantized, traits, with_defaults
from pipeline.model.checkpoint import ADAPTER, MERGE, parameters, read_headers
from pipeline.model.switchable import check_switchable

TOWERS = {  # in the names of the tensors of what sees or hears
    "vision": ("embed_tokens_extend.image_embed.", "vision_embed_tokens."),
    "speech": ("embed_tokens_extend.audio_embed.",),
}


@dataclass(frozen=True)
class Dimensions:
    """Shape of a decoder; `parameters` counts all matrices, embedding and lm_head included.

    vocab_size: rows of the embedding and of the lm_head, which are one table where they are `tied`; 0: not known.
    tower: parameters of what sees or hears, tower and projector, beside the decoder's; 0: it takes text alone.
    `traits` are what backends may not honour; of a model that is not here yet, none are known.
    """

    architecture: str
    hidden_size: int
    intermediate_size: int
    context_length: int
    parameters: int
    vocab_size: int = 0
    tied: bool = False
    tower: int = 0
    traits: Mapping[str, Any] = field(default_factory=dict)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint folder. Raises CheckpointError for a missing or corrupt one."""
    where = f"model folder {folder}"
    if not folder.is_dir():
        raise CheckpointError("there is no such folder", where=where, hint="set model.<name>.path to a checkpoint")
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        if (folder / ADAPTER).is_file():
            raise CheckpointError(f"it is an adapter ({ADAPTER}), no model", where=where, hint=MERGE) from None
        raise CheckpointError("it has no config.json", where=where, hint="this is no Hugging Face checkpoint") from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"config.json is corrupt: {error}", where=where, hint="fetch the model again") from None
    if not isinstance(config, dict):
        raise CheckpointError("config.json is corrupt: no JSON object", where=where, hint="fetch the model again")
    return config


def dimensions_of(config: Mapping[str, Any], where: str) -> Dimensions:
    """Dimensions from a config.json. Raises CheckpointError that names the missing or absurd fields."""
    try:
        whole = with_defaults(config)
        known = ARCHITECTURES.get(whole["architectures"][0])
        found = traits(config) if known and (known.text or known.towers) else {}
    except CheckpointError as error:
        raise CheckpointError(error.what, where=where, hint=error.hint) from None
    hidden, inner, layers, heads, vocab = (whole[name] for name in POSITIVE)
    head = whole.get("head_dim") or hidden // heads
    attention = hidden * head * (heads + 2 * whole["num_key_value_heads"]) + heads * head * hidden
    experts = whole.get("num_local_experts") or 0
    per_layer = attention + 3 * hidden * inner * (experts or 1) + hidden * experts + 2 * hidden
    embeddings = vocab * hidden * (1 if whole.get("tie_word_embeddings") else 2)
    return Dimensions(
        architecture=whole["architectures"][0],
        hidden_size=hidden,
        intermediate_size=inner,
        context_length=int(whole.get("max_position_embeddings") or 0),
        parameters=layers * per_layer + embeddings + hidden,
        vocab_size=vocab,
        tied=bool(whole.get("tie_word_embeddings")),
        traits=found,
    )


def dimensions(name: str, model: Mapping[str, Any]) -> Dimensions:
    """Dimensions of an entry of conf/model: a local folder's own, or those that the entry states.

    Its adapters are held against a local folder's config.json; one that is merged may bring another number of tokens.
    """
    where, modality = f"model {name}", model.get("modality", "")
    if model["path"] and model["repo"]:
        raise ConfigError("both path and repo are set", where=where, hint="set one")
    adapter = read_adapter(Path(model["adapter"])) if model["adapter"] else None
    switched = [read_adapter(Path(folder)) for folder in model.get("adapters", {}).values()]
    for each in switched:
        check_switchable(each, f"model.{name}.adapter")
    if model["path"]:
        config = read_config(Path(model["path"]))
        found = dimensions_of(config, where)
        found = replace(found, tower=_tower(found.architecture, modality, Path(model["path"])))
        if (adapter or switched) and found.traits:  # of an architecture that backends have
            refuse_quantized(config, where)
            base = canonical_config(config)
            rows = changes_of(adapter, base).rows if adapter else 0
            for each in switched:
                changes_of(each, base)
            return dimensions_of({**config, "vocab_size": rows or found.vocab_size}, where)
        return found
    if not model["repo"]:
        raise ConfigError("neither path nor repo is set", where=where, hint=f"set model.{name}.path=DIR")
    if not model["revision"]:
        raise ConfigError("a hub id needs a revision", where=where, hint=f"set model.{name}.revision=main")
    stated = ("architecture", "hidden_size", "intermediate_size", "context_length", "parameters")
    missing = [field for field in stated if not model[field]]
    if missing:
        raise ConfigError(
            f"a hub model must state {', '.join(missing)}",
            where=where,
            hint="see conf/model/phi-3.5-mini.yaml",
        )
    found = Dimensions(**{field: model[field] for field in (*stated, "vocab_size")}, tied=model["tied_embeddings"])
    return replace(found, tower=_tower(found.architecture, modality))


def _tower(architecture: str, modality: str, folder: Path | None = None) -> int:
    """Parameters of what sees or hears: of a folder's tensors; of one that is not here or not whole, as published."""
    known = ARCHITECTURES.get(architecture)
    if known is None or modality not in known.towers:
        return 0
    if folder is not None:
        with suppress(CheckpointError):  # fetch says what is wrong with it
            tensors = read_headers(folder)
            return parameters(
                {name: tensors[name] for name in tensors if any(part in name for part in TOWERS[modality])}
            )
    return known.towers[modality]
