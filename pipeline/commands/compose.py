"""compose: conf/ and overrides → params.yaml."""

from __future__ import annotations

import argparse
import sys

from pipeline import layout


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="as Hydra takes them: 'precision=[int4]' suite=smoke")
    parser.add_argument("--check", action="store_true", help="write nothing: fail when params.yaml is stale")


def run(arguments: argparse.Namespace) -> int:
    if arguments.check:
        from pipeline.params import read_params
        from pipeline.steps.guard import check_fresh

        check_fresh(read_params())
        sys.stdout.write("params.yaml is what conf/ says\n")
        return 0
    from pipeline.compose import compose_config, to_yaml
    from pipeline.conf import project_root
    from pipeline.files import write_text

    config = compose_config(arguments.overrides)
    path = project_root() / layout.PARAMS
    text = to_yaml(config)
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text != old:
        write_text(path, text)
    said = "is unchanged" if text == old else "written"
    plan = config.plan
    sys.stdout.write(f"params.yaml {said}: {len(plan.cells)} cells, {len(plan.excluded)} excluded; run: dvc repro\n")
    return 0
