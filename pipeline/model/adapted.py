"""Which tensors of a base an adapter changes, and how, held against the base's shapes. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.adapter import Adapter, saved_by
from pipeline.model.checkpoint import EMBEDDING, HEAD, Tensor
from pipeline.model.tensors import Shape, matrix_parts, shapes_of

PREFIX, WEIGHT = "base_model.model.", ".weight"
FACTOR = re.compile(r"(.+)\.(?:lora_([AB])\.weight|lora_embedding_([AB])|(lora_magnitude_vector)(?:\.weight)?)")
SAVED = re.compile(r"(.+?)(\.base_layer|\.modules_to_save)?\.(weight|bias)")
KEPT = re.compile(r"\.original_module\.")  # what a resized embedding was, which PEFT may save beside it


@dataclass(frozen=True)
class Update:
    """Rows `first` to `first + rows` of a tensor W become W + scale · B A; with DoRA, each of them of its magnitude.

    a: [rank, columns], b: [rows, rank]. Of an embedding, whose factors PEFT keeps the other way round (a: [rank, rows],
    b: [columns, rank]), they become W + scale · (B A)ᵀ.
    """

    first: int
    rows: int
    a: Tensor
    b: Tensor
    scale: float
    magnitude: Tensor | None
    embedding: bool


@dataclass
class Changes:
    """Tensors of the base that are replaced (`saved`), and what is added to tensors (`updates`), by name.

    bases: embeddings and heads as they were before their updates, of the size that they were trained in.
    """

    saved: dict[str, Tensor] = field(default_factory=dict)
    bases: dict[str, Tensor] = field(default_factory=dict)
    updates: dict[str, list[Update]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the embedding that it brings; 0 where it brings none."""
        brought = self.saved.get(EMBEDDING) or self.bases.get(EMBEDDING)
        return brought.shape[0] if brought else 0


def changes_of(adapter: Adapter, config: Mapping[str, Any]) -> Changes:
    """The changes to a base with this config.json (canonical).

    Raises CheckpointError for an adapter of other shapes or names, for a tensor that is missing or too many, and for a
    rank that is not the config's.
    """
    factors, changes = _sorted(adapter)
    shapes = _resized(adapter, changes, config)
    if not factors and not changes.saved:
        raise CheckpointError("it holds no tensors of an adapter", where=adapter.where)
    parts = matrix_parts(shapes, config)
    unknown = sorted(factors.keys() - parts.keys())
    if unknown:
        known = sorted({name.rpartition(".")[2] for name in parts})
        raise CheckpointError(
            f"it changes {unknown[0]}, which the base has not: an adapter for another base",
            where=adapter.where,
            hint=f"this base has {', '.join(known)}",
        )
    for module, held in sorted(factors.items()):
        tensor, first, rows, columns = parts[module]
        update = _update(adapter, module, held, first, (rows, columns))
        changes.updates.setdefault(tensor, []).append(update)
    _check_targets(adapter, factors, parts)
    _check_saved(adapter, changes)
    return changes


def _sorted(adapter: Adapter) -> tuple[dict[str, dict[str, Tensor]], Changes]:
    """Factors by module, and whole tensors."""
    factors: dict[str, dict[str, Tensor]] = {}
    changes = Changes()
    for name, tensor in adapter.tensors.items():
        inner = name.removeprefix(PREFIX)
        if factor := FACTOR.fullmatch(inner):
            kind = factor[2] or (factor[3] and f"embedding_{factor[3]}") or "magnitude"
            factors.setdefault(factor[1], {})[kind] = tensor
        elif KEPT.search(inner):
            continue
        elif "lora_" not in inner and (whole := SAVED.fullmatch(inner)) and inner != name:
            group = changes.bases if whole[2] == ".base_layer" else changes.saved
            group[f"{whole[1]}.{whole[3]}"] = tensor
        else:
            raise CheckpointError(f"it holds a tensor that is not supported here: {name}", where=adapter.where)
    return factors, changes


def _resized(adapter: Adapter, changes: Changes, config: Mapping[str, Any]) -> dict[str, Shape]:
    """The shapes of the merged model: embedding and lm_head may have more rows, others are the base's."""
    shapes = {HEAD: (config["vocab_size"], config["hidden_size"]), **shapes_of(config)}
    brought = {**changes.bases, **changes.saved}
    odd = sorted(brought.keys() - shapes.keys())
    if odd:
        raise CheckpointError(f"it holds {odd[0]}, which the base has not", where=adapter.where)
    rows = changes.rows or config["vocab_size"]
    for name in (EMBEDDING, HEAD):
        shapes[name] = (rows, config["hidden_size"])
    for name, tensor in brought.items():
        if tensor.shape != shapes[name]:
            raise _other(adapter, f"{name} has shape {list(tensor.shape)}", shapes[name])
    if rows != config["vocab_size"] and not config.get("tie_word_embeddings") and HEAD not in brought:
        raise CheckpointError(
            f"its embedding has {rows} rows, the base's lm_head {config['vocab_size']}",
            where=adapter.where,
            hint="save both: modules_to_save=['embed_tokens', 'lm_head']",
        )
    return shapes


def _update(adapter: Adapter, module: str, held: Mapping[str, Tensor], first: int, shape: Shape) -> Update:
    embedding = module == EMBEDDING.removesuffix(WEIGHT)
    letters = ("embedding_A", "embedding_B") if embedding else ("A", "B")
    wanted = {*letters, *(["magnitude"] if adapter.config.get("use_dora") else [])}
    for kind in (*sorted(wanted - held.keys()), *sorted(held.keys() - wanted)):
        word = "is missing" if kind in wanted else "is too many"
        name = "lora_magnitude_vector" if kind == "magnitude" else f"lora_{kind}"
        raise CheckpointError(f"{name} of {module} {word}", where=adapter.where, hint="save or copy the adapter again")
    if embedding and "magnitude" in wanted:
        raise CheckpointError(f"DoRA on {module} is not supported", where=adapter.where)
    a, b = (held[letter] for letter in letters)
    rows, columns = shape
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise CheckpointError(f"the factors of {module} are no matrices", where=adapter.where)
    rank = adapter.rank(module)
    if (a.shape[0], b.shape[1]) != (rank, rank):
        raise CheckpointError(
            f"{module} has factors of rank {a.shape[0]} and {b.shape[1]}, adapter_config.json says {rank}",
            where=adapter.where,
        )
    if (b.shape[0], a.shape[1]) != ((columns, rows) if embedding else (rows, columns)):
        product = (a.shape[1], b.shape[0]) if embedding else (b.shape[0], a.shape[1])
        raise _other(adapter, f"{module} is changed by a matrix {list(product)}", shape)
    magnitude = held.get("magnitude")
    if magnitude and magnitude.shape != (rows,):
        raise _other(adapter, f"lora_magnitude_vector of {module} has shape {list(magnitude.shape)}", (rows,))
    return Update(first, rows, a, b, adapter.scale(module), magnitude, embedding)


def _check_targets(adapter: Adapter, factors: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Modules that the config targets have factors, and others have none.

    A base has a fused matrix or its parts; a part that is targeted counts only where parts were trained.
    """
    real = {name for name, part in parts.items() if part[0] == f"{name}{WEIGHT}"}
    split = {name.rpartition(".")[2] for name in factors.keys() - real}
    targeted = {name for name in parts if adapter.targets(name) and (name in real or name.rpartition(".")[2] in split)}
    for module in sorted(factors.keys() - targeted):
        raise CheckpointError(f"it holds tensors of {module}, which target_modules leave out", where=adapter.where)
    for module in sorted(targeted - factors.keys()):
        raise CheckpointError(f"its target_modules have {module}, whose tensors are missing", where=adapter.where)


def _check_saved(adapter: Adapter, changes: Changes) -> None:
    names = list(adapter.config.get("modules_to_save") or ())
    modules = {name.rpartition(".")[0] for name in changes.saved}
    tied = adapter.config.get("ensure_weight_tying")
    for name in names:
        if not any(saved_by([name], module) for module in modules) and not (tied and name == "lm_head"):
            raise CheckpointError(f"modules_to_save has {name}, whose tensor is missing", where=adapter.where)
    for module in sorted(modules):
        if not saved_by(names, module) and f"{module}{WEIGHT}" not in (EMBEDDING, HEAD):
            raise CheckpointError(f"it holds {module}, which modules_to_save has not", where=adapter.where)


def _other(adapter: Adapter, what: str, shape: Shape) -> CheckpointError:
    return CheckpointError(f"{what}, the base's is {list(shape)}: an adapter for another base", where=adapter.where)


def tensors_of(changes: Changes) -> Iterator[Tensor]:
    """All that it was trained to, to be read and checked."""
    yield from (*changes.saved.values(), *changes.bases.values())
    for update in (update for updates in changes.updates.values() for update in updates):
        yield from filter(None, (update.a, update.b, update.magnitude))
