"""conf/ as files: where it is, and its digest. Standard library only, so that guard is quick."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline import layout
from pipeline.errors import ConfigError


def project_root() -> Path:
    """The nearest folder, from here upwards, that holds conf/config.yaml."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / layout.CONF / "config.yaml").is_file():
            return folder
    raise ConfigError("there is no conf/config.yaml here or above", hint="run this in the project's folder")


def conf_digest(root: Path | None = None) -> str:
    """SHA-256 over the names and contents of all YAML files under conf/."""
    conf = (root or project_root()) / layout.CONF
    digest = hashlib.sha256()
    for path in sorted(conf.rglob("*.yaml")):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(conf).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
