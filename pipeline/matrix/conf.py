"""conf/ as files: where it is, its digest, and whether params.yaml is what it says. No Hydra: guard is quick."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from pipeline import layout
from pipeline.errors import ConfigError, StaleParamsError
from pipeline.files import write_text
from pipeline.harness.params import COMPOSE, load_yaml, read_templates
from pipeline.matrix.plan import make_plan
from pipeline.planned import Plan
from pipeline.types import JSON

PLAN_HEAD = "# written with params.yaml, by: python -m pipeline compose, or dvc exp run\n"


def project_root() -> Path:
    """The nearest folder, from here upwards, that holds conf/config.yaml."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / layout.CONF / "config.yaml").is_file():
            return folder
    raise ConfigError(
        "there is no conf/config.yaml here or above",
        hint="run this in the project's folder, or make one: phi-deploy init FOLDER",
    )


def conf_digest(root: Path | None = None) -> str:
    """SHA-256 over the names of all YAML files under conf/ and what they say; comments and layout do not count."""
    conf = (root or project_root()) / layout.CONF
    digest = hashlib.sha256()
    for path in sorted(conf.rglob("*.yaml")):
        content = _said(path)
        digest.update(f"{path.relative_to(conf).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _said(path: Path) -> bytes:
    """A file's values in their order, and the package that Hydra reads from a comment in its header."""
    text = path.read_bytes().decode("utf-8", errors="replace").replace("\r\n", "\n")
    package = [line for line in text.splitlines() if line.startswith("# @package")]
    try:
        return json.dumps([package, load_yaml(text)], default=repr).encode()
    except yaml.YAMLError:
        return text.encode()  # composing says what is wrong with it


def write_plan(plan: Plan, root: Path) -> bool:
    """Write what dvc.yaml's templates take of the plan; whether that was another before."""
    path = root / layout.PLAN
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = PLAN_HEAD + yaml.dump(plan.templates(), Dumper=dumper, sort_keys=False)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def check_fresh(params: JSON) -> Plan:
    """The plan of params.yaml's own settings.

    Raises StaleParamsError when conf/ changed since, or the templates beside it are not what its settings give.
    """
    if params.get("conf_digest") != conf_digest():
        raise StaleParamsError("conf/ changed after params.yaml was composed", hint=f"run: {COMPOSE}")
    plan = make_plan(params)
    if plan.templates() != read_templates():
        raise StaleParamsError(f"{layout.PLAN} is not what params.yaml's settings give", hint=f"run: {COMPOSE}")
    return plan
