"""Dataclasses as JSON Schema (draft 2020-12). Standard library only."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from inspect import cleandoc
from typing import Any, Union, get_args, get_origin, get_type_hints

from pipeline.types import JSON

DRAFT = "https://json-schema.org/draft/2020-12/schema"
SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array"}


def document(title: str, body: JSON, defs: Mapping[str, Any]) -> JSON:
    """A schema that stands alone in a file."""
    return {"$schema": DRAFT, "title": title, **body, "$defs": dict(sorted(defs.items()))}


def schema_of(kind: Any, defs: dict[str, Any], required: bool = True) -> JSON:
    """The schema of a type; dataclasses go to `defs`, closed, with the fields that have no default as `required`."""
    if kind is Any:
        return {}
    if isinstance(kind, type) and is_dataclass(kind):
        if kind.__name__ not in defs:
            defs[kind.__name__] = {}  # before its fields, which may name it again
            defs[kind.__name__] = _object(kind, defs, required)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(one, defs, required) for one in inner]}
    if kind is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        values = schema_of(inner[1], defs, required) if inner else {}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    if origin is not None:
        values = schema_of(inner[0], defs, required)
        return {"type": "array", "items": values} if values else {"type": "array"}
    if kind is type(None):
        return {"type": "null"}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    return {"type": SIMPLE[kind]}


def _object(kind: type, defs: dict[str, Any], required: bool) -> JSON:
    hints = get_type_hints(kind)
    own: JSON = {"type": "object", "description": cleandoc(kind.__doc__ or "").replace("\n", " ")}
    own["properties"] = {field.name: schema_of(hints[field.name], defs, required) for field in fields(kind)}
    own["additionalProperties"] = False
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    return {**own, "required": needed} if required and needed else own
