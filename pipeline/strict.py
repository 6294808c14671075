"""Plain data (JSON, YAML) → frozen dataclasses, which refuse keys that they do not know or lack, and back.

Standard library only: guard, `verify` and `--help` run through it.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pipeline.errors import ArtifactError, suggest

T = TypeVar("T")


class _UnfitError(Exception):
    """What does not fit, and where in the data."""


def read(kind: type[T], raw: Any, where: str = "") -> T:
    """The dataclass that plain data describes. Raises ArtifactError naming the first field that does not fit."""
    try:
        made: T = _read(kind, raw, "")
        return made
    except _UnfitError as error:
        raise ArtifactError(str(error), where=where, hint="dvc repro makes it again") from None


def plain(value: Any) -> Any:
    """The data of a dataclass, as JSON has it; a field that has its default is left out."""
    if is_dataclass(value):
        pairs = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: plain(held) for field, held in pairs if field.default is MISSING or held != field.default}
    if isinstance(value, Mapping):
        return {str(key): plain(held) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(held) for held in value]
    return value.value if isinstance(value, Enum) else value


def to_json(value: Any) -> str:
    """What `--json` prints: the data, indented. Raises ValueError for NaN and infinity, which are no JSON."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, raw: Any, at: str) -> Any:
    if kind is Any:
        return raw
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, raw, at)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _union(inner, raw, at)
    if origin is not None and issubclass(origin, Mapping):
        _require(isinstance(raw, Mapping), raw, "an object", at)
        return {key: _read(inner[1], held, f"{at}.{key}") for key, held in raw.items()}
    if origin is not None:  # a sequence of one kind
        _require(isinstance(raw, (list, tuple)), raw, "a list", at)
        return tuple(_read(inner[0], held, f"{at}[{number}]") for number, held in enumerate(raw))
    if isinstance(kind, type) and issubclass(kind, Enum):
        _require(raw in [member.value for member in kind], raw, f"one of {', '.join(m.value for m in kind)}", at)
        return kind(raw)
    accepted = (int, float) if kind is float else kind
    _require(isinstance(raw, accepted) and (kind is bool or not isinstance(raw, bool)), raw, kind.__name__, at)
    return raw


def _dataclass(kind: type, raw: Any, at: str) -> Any:
    _require(isinstance(raw, Mapping), raw, "an object", at)
    hints = _hints(kind)
    known = {field.name: field for field in fields(kind)}
    for name in raw:
        if name not in known:
            raise _UnfitError(f"unknown field '{_joined(at, name)}' ({suggest(str(name), known)})")
    absent = [name for name, field in known.items() if name not in raw and field.default is MISSING]
    if absent:
        raise _UnfitError(f"there is no field '{_joined(at, absent[0])}'")
    return kind(**{name: _read(hints[name], held, _joined(at, name)) for name, held in raw.items()})


def _union(inner: tuple[Any, ...], raw: Any, at: str) -> Any:
    if raw is None and type(None) in inner:
        return None
    others = [kind for kind in inner if kind is not type(None)]
    for kind in others[:-1]:
        try:
            return _read(kind, raw, at)
        except _UnfitError:
            continue
    return _read(others[-1], raw, at)


def _require(fits: bool, raw: Any, wanted: str, at: str) -> None:
    if not fits:
        raise _UnfitError(f"'{at.lstrip('.') or 'the file'}' is {raw!r:.80}, not {wanted}")


def _joined(at: str, name: object) -> str:
    return f"{at}.{name}".lstrip(".")
