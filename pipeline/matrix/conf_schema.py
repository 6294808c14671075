"""JSON Schemas of conf/, for editors: of the structured configs, the recipes' words and the backends' methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.harness.params import load_yaml
from pipeline.json_schema import SIMPLE, document, schema_of
from pipeline.matrix import schema
from pipeline.matrix.checks import AXES
from pipeline.matrix.gates import GATES
from pipeline.matrix.recipes import WORDS
from pipeline.model.architectures import ARCHITECTURES
from pipeline.types import JSON, Family

GROUPS = {
    "model": schema.ModelConf,
    "precision": schema.PrecisionConf,
    "backend": schema.BackendConf,
    "target": schema.TargetConf,
}
NAME = "^[a-z0-9-]+$"
MADE_BY_COMPOSE = ("conf_digest", "plan")


def conf_schemas(root: Path) -> dict[str, JSON]:
    """File name → schema: of each group's files, and of config.yaml, suites and params.yaml (`config`)."""
    made = {f"conf-{group}.json": _group(group, root) for group in GROUPS}
    return {**made, "conf-config.json": _config(root)}


def _group(group: str, root: Path) -> JSON:
    """A file of a group: options by their names."""
    defs: dict[str, Any] = {}
    option = schema_of(GROUPS[group], defs, required=False)
    _narrow(defs, root)
    own = _backends(defs, root) if group == "backend" else {}
    others = f"^(?!({'|'.join(own)})$){NAME[1:]}" if own else NAME
    body = {"type": "object", "properties": own, "patternProperties": {others: option}, "additionalProperties": False}
    return document(f"conf/{group}/*.yaml", body, defs)


def _config(root: Path) -> JSON:
    """config.yaml and suites: settings, and Hydra's defaults list; of params.yaml the options of each axis as well."""
    defs: dict[str, Any] = {}
    schema_of(schema.Config, defs, required=False)
    _narrow(defs, root)
    body = defs.pop("Config")
    body["properties"] |= {"defaults": {"type": "array"}, **{name: {} for name in MADE_BY_COMPOSE}}
    for axis in AXES:
        options = sorted(path.stem for path in (root / layout.CONF / axis).glob("*.yaml"))
        body["properties"][axis] = {**body["properties"][axis], "examples": options}
    return document("conf/config.yaml, conf/suite/*.yaml and params.yaml", body, defs)


def _narrow(defs: dict[str, Any], root: Path) -> None:
    """Put known names where the structured configs have any text."""
    families, backends = {"enum": [str(family) for family in Family]}, {"enum": sorted(_confs(root))}
    if "ModelConf" in defs:
        defs["ModelConf"]["properties"]["architecture"] = {"enum": ["", *sorted(ARCHITECTURES)]}
    if "PrecisionConf" in defs:
        defs["PrecisionConf"]["properties"]["family"] = families
        defs["PrecisionConf"]["required"] = ["family"]
    if "TargetConf" in defs:
        target = defs["TargetConf"]["properties"]
        target["gates"]["propertyNames"] = {"enum": sorted(GATES)}
        target["precisions"]["items"] = families
        for name in ("backends", "recipes", "left_out", "package"):
            target[name]["propertyNames"] = backends
        target["recipes"]["additionalProperties"]["propertyNames"] = families
    if "BackendConf" in defs:
        backend = defs["BackendConf"]["properties"]
        backend["recipes"]["propertyNames"] = families
        words = {name: _word(name, None) for name in WORDS}
        recipe = {"type": "object", "properties": {"method": {"type": "string"}, "form": {"type": "string"}, **words}}
        backend["recipes"]["additionalProperties"]["additionalProperties"] = {**recipe, "required": ["method", "form"]}


def _backends(defs: dict[str, Any], root: Path) -> JSON:
    """Each backend's schema, whose recipes have the words and values that its own methods take."""
    made: JSON = {}
    for name, conf in _confs(root).items():
        recipes = {"additionalProperties": {"additionalProperties": _recipe(conf["methods"], conf["forms"])}}
        properties = {**defs["BackendConf"]["properties"]}
        properties["recipes"] = {**properties["recipes"], **recipes}
        defs[f"BackendConf {name}"] = {**defs["BackendConf"], "properties": properties}
        made[name] = {"$ref": f"#/$defs/BackendConf%20{name}"}
    return made


def _recipe(methods: Mapping[str, Any], forms: Mapping[str, Any]) -> JSON:
    cases = []
    for method, body in methods.items():
        words = {word: _word(word, values) for word, values in ((body or {}).get("words") or {}).items()}
        known = {"method": {"const": method}, "form": {"enum": list(forms)}, **words}
        then = {"properties": known, "propertyNames": {"enum": list(known)}}
        cases.append({"if": {"properties": {"method": {"const": method}}}, "then": then})
    own = {"type": "object", "properties": {"method": {"enum": list(methods)}}, "required": ["method", "form"]}
    return {**own, "allOf": cases}


def _word(word: str, values: Any) -> JSON:
    """A word's values, or any of its type; null is its absence, a list the values to choose from."""
    kinds = WORDS.get(word)
    of = [SIMPLE[kind] for kind in (kinds if isinstance(kinds, tuple) else (kinds,)) if kind]
    one: JSON = {"enum": list(values)} if values else {"type": of} if of else {}
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}, {"type": "null"}]} if one else {}


def _confs(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted((root / layout.CONF / "backend").glob("*.yaml")):
        found |= load_yaml(path.read_text(encoding="utf-8"))
    return found
