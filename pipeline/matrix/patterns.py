"""Patterns of options for `dvc exp run -S 'precision=[int4*]'`, where DVC lets Hydra compose without us.

Hydra looks an option up as a file; here `precision/int4*` is a config whose defaults list names the files that match.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from yaml import YAMLError

from pipeline import layout
from pipeline.harness.params import load_yaml
from pipeline.matrix.checks import AXES
from pipeline.matrix.conf import project_root
from pipeline.types import JSON

PATTERN = "*?"
SCHEME = "patterns"


def matching(group: str, pattern: str) -> list[str]:
    """The options of conf/<group> that a pattern with `*` or `?` names, in their order."""
    names = (path.stem for path in (project_root() / layout.CONF / group).glob("*.yaml"))
    return sorted(name for name in names if fnmatchcase(name, pattern))


def merged(group: str, names: Sequence[str]) -> JSON | None:
    """Options of conf/<group> as one: Hydra walks through all it has after each that it merges.

    None where that would be something else: one of them has a defaults list or a package, is broken, or says anew what
    another says.
    """
    found: JSON = {}
    for name in names:
        text = (project_root() / layout.CONF / group / f"{name}.yaml").read_text(encoding="utf-8")
        try:
            said = load_yaml(text)
        except YAMLError:
            return None
        if "@package" in text or not isinstance(said, dict) or "defaults" in said or not found.keys().isdisjoint(said):
            return None
        found |= said
    return found


class Patterns(ConfigSource):
    """A pattern of an axis as a config of its own."""

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        if not (found := _found(config_path)):
            raise ConfigLoadError(f"nothing matches '{config_path}'")
        config = OmegaConf.create({"defaults": found})
        return ConfigResult(config=config, path=self.full_path(), provider=self.provider, header={"package": None})

    def is_config(self, config_path: str) -> bool:
        return bool(_found(config_path))

    def is_group(self, config_path: str) -> bool:
        return False

    def available(self) -> bool:
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []


class PatternsPath(SearchPathPlugin):
    """Hydra looks here after conf/."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("phi-deploy", f"{SCHEME}://")


def _found(config_path: str) -> list[str]:
    path = PurePosixPath(config_path.removesuffix(".yaml"))
    group = path.parent.as_posix()
    return matching(group, path.name) if group in AXES and set(path.name) & set(PATTERN) else []
