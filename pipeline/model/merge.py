"""A base and an adapter as one checkpoint: a safetensors file, written tensor by tensor, a few rows at a time.

What is merged is kept in the base's own type, as PEFT's `merge_and_unload` leaves a base that was loaded in it; sums
are float32. Where PEFT's merge of tied tables is not what was trained (it adds a head's update to the embedding, too),
the two are written apart, as they were trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import CheckpointError
from pipeline.files import has_reflinks, require_space
from pipeline.model.adapted import Changes, Update, changes_of, tensors_of
from pipeline.model.adapter import Adapter
from pipeline.model.checkpoint import EMBEDDING, HEAD, ITEM_BYTES, SINGLE, Tensor, read_bytes, read_float32

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEP = 1 << 24  # values at a time


@dataclass(frozen=True)
class Merged:
    """A tensor of the merged model: what it is made from, in which type it is kept, and what is added."""

    source: Tensor
    dtype: str
    updates: Sequence[Update] = ()

    @property
    def size(self) -> int:
        return prod(self.source.shape) * ITEM_BYTES[self.dtype]


def merge(adapter: Adapter, base: Mapping[str, Tensor], config: Mapping[str, Any], out: Path) -> int:
    """Write model.safetensors of base (of this canonical config) and adapter into `out`; the rows of its embedding.

    Raises CheckpointError for an adapter that does not fit, before anything is written.
    """
    changes, tied = changes_of(adapter, config), bool(config.get("tie_word_embeddings"))
    keep = tied and bool(adapter.config.get("ensure_weight_tying"))
    if keep and changes.updates.keys() & {EMBEDDING, HEAD}:
        raise CheckpointError("ensure_weight_tying with factors of tied tables is not supported", where=adapter.where)
    check_finite(adapter, changes)
    tensors = _plan(base, changes, tied, keep)
    for name, tensor in tensors.items():
        if any(update.first + update.rows > tensor.source.shape[0] for update in tensor.updates):
            raise CheckpointError(f"{name} was resized, and is not among its tensors", where=adapter.where)
    size = sum(tensor.size for tensor in tensors.values())
    require_space(out, size if has_reflinks(out) else 2 * size)  # DVC's copy
    write_tensors(tensors, out)
    return tensors[EMBEDDING].source.shape[0]


def check_finite(adapter: Adapter, changes: Changes) -> None:
    """Raises CheckpointError for a tensor of the adapter with NaN or infinity, or of a type that is not supported."""
    import numpy as np

    names = {tensor: name for name, tensor in adapter.tensors.items()}
    for tensor in tensors_of(changes):
        for rows in _steps(tensor):
            if not np.isfinite(read_float32(tensor, rows)).all():
                raise CheckpointError(f"{names[tensor]} has NaN or infinity in it", where=adapter.where)


def _plan(base: Mapping[str, Tensor], changes: Changes, tied: bool, keep_tied: bool) -> dict[str, Merged]:
    """Every tensor of the merged model. `tied`: the base's head is its embedding; `keep_tied`: it stays so."""
    sources = {name: tensor for name, tensor in base.items() if not (tied and name == HEAD)}
    if tied and not keep_tied:
        changed = {EMBEDDING, HEAD} & (changes.saved.keys() | changes.updates.keys())
        resized = changes.rows not in (0, base[EMBEDDING].shape[0])
        if HEAD in changed:
            sources[HEAD] = base[EMBEDDING]
        elif changed and not (resized and EMBEDDING in changes.saved):
            sources[HEAD] = changes.bases.get(EMBEDDING, base[EMBEDDING])
    found = {}
    for name, tensor in sources.items():
        source = changes.saved.get(name) or changes.bases.get(name) or tensor
        found[name] = Merged(source, tensor.dtype, changes.updates.get(name, ()))
    return found


def write_tensors(tensors: Mapping[str, Merged], out: Path) -> None:
    """Write model.safetensors into the folder `out`. Raises CheckpointError where a sum does not fit its type."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        shape, end = list(tensor.source.shape), offset + tensor.size
        header[name] = {"dtype": tensor.dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with (out / SINGLE).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors.items():
            for part in _parts(name, tensor):
                file.write(part)


def _parts(name: str, tensor: Merged) -> Iterator[bytes]:
    """The tensor's bytes, some at a time."""
    import numpy as np

    source = tensor.source
    if not tensor.updates and source.dtype == tensor.dtype:
        raw = read_bytes(source)
        for at in range(0, source.size, 4 * STEP):
            yield raw[at : at + 4 * STEP].tobytes()
        return
    for rows in _steps(source):
        values = read_float32(source, rows)
        for update in tensor.updates:
            _add(values, rows, update)
        with np.errstate(over="ignore"):
            cast = _cast(values, tensor.dtype)
        if not np.isfinite(values).all() or (tensor.dtype == "F16" and not np.isfinite(cast).all()):
            raise CheckpointError(f"{name} with the adapter added is no finite {tensor.dtype}", where=str(source.path))
        yield cast.tobytes()


def _add(values: NDArray[np.float32], rows: slice, update: Update) -> None:
    """Change those of `rows` that the update has, in place."""
    import numpy as np

    first, last = max(rows.start, update.first), min(rows.stop, update.first + update.rows)
    if first >= last:
        return
    own, held = slice(first - update.first, last - update.first), slice(first - rows.start, last - rows.start)
    if update.embedding:
        delta = read_float32(update.a)[:, own].T @ read_float32(update.b).T
    else:
        delta = read_float32(update.b, own) @ read_float32(update.a)
    changed = values[held] + delta * np.float32(update.scale)
    if update.magnitude is not None:  # arXiv 2402.09353: each row is of its magnitude, in its own direction
        norm = np.linalg.norm(changed, axis=1)
        changed *= (read_float32(update.magnitude, own) / norm)[:, None]
    values[held] = changed


def _steps(tensor: Tensor) -> Iterator[slice]:
    """Slices of rows, of some STEP values each."""
    count = tensor.shape[0] if tensor.shape else 1
    step = max(1, STEP // max(1, prod(tensor.shape[1:])))
    for at in range(0, count, step):
        yield slice(at, min(at + step, count))


def _cast(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """float32 as the file's type, rounded to the nearest, ties to even."""
    import numpy as np

    if dtype == "BF16":
        bits = values.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return values.astype({"F32": "<f4", "F16": "<f2", "F64": "<f8"}[dtype])
