"""The JSON Schemas: up to date, and in agreement with what the code takes and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.commands.schema import schemas
from pipeline.strict import plain
from tests.support.project import Project
from tests.support.tiny import ROOT

jsonschema = pytest.importorskip("jsonschema")

SCHEMAS = {path.name: json.loads(path.read_text("utf-8")) for path in (ROOT / "schemas").glob("*.json")}
CONF = sorted((ROOT / "conf").rglob("*.yaml"))


def schema_name(path: Path) -> str:
    group = path.parent.name
    return "conf-config.json" if group in ("conf", "suite") else f"conf-{group}.json"


def problems(name: str, content: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMAS[name])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(content)]


def test_the_schemas_are_what_the_code_and_conf_say() -> None:
    assert json.loads(json.dumps(schemas(ROOT))) == SCHEMAS, "run: python -m pipeline schema"
    for body in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(body)


def test_every_file_of_conf_validates_and_names_its_schema() -> None:
    for path in (*CONF, ROOT / "params.yaml"):
        text = path.read_text(encoding="utf-8")
        name = "conf-config.json" if path.name == "params.yaml" else schema_name(path)
        assert not problems(name, yaml.safe_load(text)), path
        if path.name != "params.yaml":
            up = "../" * (len(path.relative_to(ROOT).parts) - 1)
            assert f"# yaml-language-server: $schema={up}schemas/{name}\n" in text, path


WRONG = {
    "a key": ("model/local.yaml", "path:", "pathh:", "pathh"),
    "a family": ("precision/int4.yaml", "family: int4", "family: int44", "int44"),
    "a gate": ("target/cpu.yaml", "max_kl_nats", "max_kl_nat", "max_kl_nat"),
    "a recipe's word": (
        "backend/onnxruntime.yaml",
        "method: nncf, form: fp32, mode",
        "method: nncf, form: fp32, mod",
        "mod",
    ),
    "a recipe's value": ("backend/onnxruntime.yaml", "bits: 4, group_size: 32", "bits: 7, group_size: 32", "7"),
    "a recipe's method": ("backend/openvino.yaml", "method: nncf,", "method: weight-only,", "weight-only"),
    "a setting": ("config.yaml", "window: 512", "windw: 512", "windw"),
    "a type": ("config.yaml", "window: 512", "window: many", "many"),
    "a preset's key": ("suite/smoke.yaml", "runs: 2", "run: 2", "run"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_word_fails(name: str) -> None:
    file, old, new, named = WRONG[name]
    text = (ROOT / "conf" / file).read_text(encoding="utf-8")
    assert old in text
    found = problems(schema_name(ROOT / "conf" / file), yaml.safe_load(text.replace(old, new, 1)))
    assert found and any(named in line for line in found), found


def test_what_is_printed_validates(finished: Project) -> None:
    cell = "local_fp32_onnxruntime_cpu"
    for name, words in (
        ("cells.json", ("report",)),
        ("recommend.json", ("recommend",)),
        ("gate.json", ("gate", cell)),
        ("verify.json", ("verify", f"packages/{cell}")),
        ("compose.json", ("compose", "--check")),
    ):
        done = finished.pipeline(*words, "--json")
        assert not problems(name, json.loads(done.stdout)), done.stderr
    assert not problems("plan.json", finished.json("inputs/report.json")["plan"])
    for path in (finished.root / "artifacts/evaluations").glob("*.json"):
        assert not problems("evaluation.json", json.loads(path.read_text("utf-8")))
    assert problems("gate.json", {**plain({"passed": True, "held": []}), "held": [{"cell": 1}]})
