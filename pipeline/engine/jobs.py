"""The stages over the plan as dvc.yaml declares them, with the plan's strings filled in, and what each stands on.

DVC resolves its templates and finds its graph in a time that grows with the square of the plan's size; these
templates have no more in them than `${key}` and `${item.name}`. Tests hold the result against DVC's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline import layout
from pipeline.errors import ConfigError
from pipeline.harness.params import load_yaml
from pipeline.harness.stages import STAGES
from pipeline.types import JSON

_FIELD = re.compile(r"\$\{([\w.]+)\}")
_DECLARES = {"wdir", "cmd", "deps", "outs"}


@dataclass(frozen=True)
class Job:
    """One entry of a stage. `deps` and `outs` are paths from the project's root, as often as dvc.yaml names them."""

    stage: str
    key: str
    cmd: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.stage}@{self.key}"

    @property
    def file(self) -> str:
        """Its dvc.yaml, from the project's root."""
        return (layout.STAGES / self.stage / "dvc.yaml").as_posix()


def jobs_of(groups: JSON, root: Path = Path()) -> dict[str, Job]:
    """Every entry of every stage by its name, in the plan's order; `groups` is the plan beside params.yaml.

    Raises ConfigError for a dvc.yaml that says more than this reads.
    """
    found = {}
    for stage in STAGES:
        path = root / layout.STAGES / stage / "dvc.yaml"
        body = load_yaml(path.read_text(encoding="utf-8"))["stages"][stage]
        group = _group(body, path)
        for key, item in groups.get(group, {}).items():
            job = _job(stage, key, item, body["do"], path)
            found[job.name] = job
    return found


def _group(body: JSON, path: Path) -> str:
    named = re.fullmatch(r"\$\{(\w+)\}", str(body.get("foreach")))
    if set(body) != {"foreach", "do"} or named is None or set(body["do"]) != _DECLARES:
        raise ConfigError(
            f"the engine reads foreach over the plan with {', '.join(sorted(_DECLARES))} alone", where=str(path)
        )
    return named[1]


def _job(stage: str, key: str, item: Mapping[str, str], body: Mapping[str, Any], path: Path) -> Job:
    values = {"key": key, **{f"item.{name}": value for name, value in item.items()}}

    def fill(text: str) -> str:
        try:
            return _FIELD.sub(lambda match: values[match[1]], text)
        except KeyError as missing:
            raise ConfigError(f"{stage}@{key} has no {missing.args[0]}", where=str(path)) from None

    return Job(stage, key, fill(body["cmd"]), tuple(map(fill, body["deps"])), tuple(map(fill, body["outs"])))


def upstream(jobs: Mapping[str, Job]) -> dict[str, tuple[str, ...]]:
    """The entries whose results each one reads, as DVC sees it: paths that are equal, or lie within another."""
    makers = {out: name for name, job in jobs.items() for out in job.outs}
    within: dict[str, list[str]] = {}
    for out, name in makers.items():
        for parent in _parents(out):
            within.setdefault(parent, []).append(name)
    found = {}
    for name, job in jobs.items():
        above = [maker for dep in job.deps for maker in _makers(dep, makers, within)]
        found[name] = tuple(dict.fromkeys(above))
    return found


def _makers(dep: str, makers: Mapping[str, str], within: Mapping[str, list[str]]) -> Iterator[str]:
    for path in (dep, *_parents(dep)):
        if path in makers:
            yield makers[path]
    yield from within.get(dep, ())


def _parents(path: str) -> Iterable[str]:
    return (parent.as_posix() for parent in PurePosixPath(path).parents if parent.as_posix() not in (".", "/"))


def below(names: Iterable[str], above: Mapping[str, tuple[str, ...]]) -> set[str]:
    """All that stands on these, at whatever depth; `above` is in an order in which makers come first."""
    found = set(names)
    for name, makers in above.items():
        if not found.isdisjoint(makers):
            found.add(name)
    return found - set(names)
