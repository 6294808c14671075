"""compose: conf/ and overrides → params.yaml, and the plan for the stages' templates beside it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import layout
from pipeline.planned import Plan


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="as Hydra takes them: 'precision=[int4]' suite=smoke")
    parser.add_argument("--check", action="store_true", help="write nothing: fail when params.yaml is stale")
    parser.add_argument("--json", action="store_true", help="what was written, as JSON")


@dataclass(frozen=True)
class Composed:
    """What params.yaml holds now: the matrix, and whether the file was `written` or said the same already."""

    path: str
    written: bool
    models: tuple[str, ...]
    cells: tuple[str, ...]
    excluded: Mapping[str, str]


def run(arguments: argparse.Namespace) -> int:
    if arguments.check:
        from pipeline.harness.params import read_params
        from pipeline.matrix.conf import check_fresh

        plan = check_fresh(read_params())
        _say(arguments, _composed(plan, False), "params.yaml is what conf/ says\n")
        return 0
    from pipeline.files import write_text
    from pipeline.matrix.compose import compose_config, settings_of, to_yaml
    from pipeline.matrix.conf import project_root, write_plan
    from pipeline.matrix.plan import make_plan

    config = compose_config(arguments.overrides)
    plan = make_plan(settings_of(config))
    path = project_root() / layout.PARAMS
    written = write_plan(plan, project_root())
    text = to_yaml(config)
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text != old:
        write_text(path, text)
        written = True
    said = "written" if written else "is unchanged"
    set_aside_broken_locks(project_root())
    line = f"params.yaml {said}: {len(plan.cells)} cells, {len(plan.excluded)} excluded; run: dvc repro\n"
    _say(arguments, _composed(plan, written), line)
    return 0


def _composed(plan: Plan, written: bool) -> Composed:
    return Composed(layout.PARAMS.as_posix(), written, tuple(plan.models), tuple(plan.cells), plan.excluded)


def _say(arguments: argparse.Namespace, composed: Composed, line: str) -> None:
    from pipeline.strict import to_json

    sys.stdout.write(to_json(composed) if arguments.json else line)


def set_aside_broken_locks(root: Path = Path()) -> None:
    """DVC writes dvc.lock in place: a kill may leave half of it. Its run cache knows the results without it."""
    for lock in layout.locks(root):
        _set_aside_if_broken(lock)


def _set_aside_if_broken(path: Path) -> None:
    if _whole(path.read_text(encoding="utf-8", errors="replace")):
        return
    aside = path.with_name(f"{path.name}.broken")
    path.replace(aside)
    sys.stderr.write(f"warning: {path.name} was cut off and is now {aside.name}; DVC takes results from its cache\n")


def _whole(text: str) -> bool:
    import yaml

    from pipeline.harness.params import load_yaml

    try:
        stages = load_yaml(text)["stages"]
        entries = [entry for stage in stages.values() for kind in ("deps", "outs") for entry in stage.get(kind, ())]
        return all(isinstance(stage["cmd"], str) for stage in stages.values()) and all(
            isinstance(entry["path"], str) and entry.get("hash", "md5") == "md5" for entry in entries
        )
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return False
