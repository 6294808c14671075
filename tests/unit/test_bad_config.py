"""A mistake in the configuration is one clear line, exit code 2, and nothing is written."""

from __future__ import annotations

import sys

import pytest

from tests.support.project import SMOKE, Project

LOCAL = ("model=[local]", "model.local.path=models/tiny")

CASES = {
    "unknown model": (["model=[phi-tyni]"], "unknown model 'phi-tyni'.*did you mean 'phi-tiny'"),
    "unknown precision": (["precision=[int44]"], "unknown precision 'int44'.*did you mean 'int4"),
    "unknown backend": (["backend=[onnxruntim]"], "unknown backend 'onnxruntim'.*did you mean 'onnxruntime'"),
    "unknown target": (["target=[cup]"], "unknown target 'cup'.*did you mean 'cpu'"),
    "unknown suite": (["suite=smok"], "unknown suite 'smok'.*did you mean 'smoke'"),
    "a pattern that nothing matches": (["precision=[int9*]"], r"no precision matches 'int9\*'; did you mean 'int"),
    "a group that is no list": (["precision=int4"], r"write 'precision=\[int4\]'"),
    "unknown key": (["evaluate.windw=5"], "evaluate.windw.*no such key|unknown key.*windw"),
    "unknown added key": (["+evaluate.windw=5"], "unknown key 'windw'.*did you mean 'window'"),
    "wrong type": (["evaluate.window=many"], "config evaluate.window=many: Value 'many'.* to Integer"),
    "a gate that is not there": (
        ["target.cpu.gates.max_package_mb=3"],
        r"max_package_mb: there is no such key.*to add it: '\+target.cpu.gates.max_package_mb=3'",
    ),
    "a list that is a text": (
        ["evaluate.tasks=my.jsonl"],
        r"it is a list; write 'evaluate.tasks=\[my.jsonl",
    ),
    "tasks that are not there": (["evaluate.tasks=[my.jsonl]"], "evaluate.tasks: my.jsonl: there is no such file"),
    "a task of another form": (
        ["evaluate.tasks=[data/phi-tiny/questions.jsonl]"],
        "evaluate.tasks: data/phi-tiny/questions.jsonl:1: no task: there is no `messages` beside `question`, `choices`",
    ),
    "an answer of no tokens": (["evaluate.task_tokens=0"], "evaluate.task_tokens must be at least 1"),
    "a sweep": (["precision=glob(int4*)"], r"no sweeps; an axis is a list, patterns too: 'precision=\[int4\*\]'"),
    "empty matrix": (["precision=[]"], "the matrix is empty: no precision is selected"),
    "everything excluded": (
        ["precision=[int4]", "backend=[onnxruntime]", "backend.onnxruntime.recipes.int4.default.group_size=96"],
        "every cell of the matrix is excluded.*group size 96 does not divide hidden_size 256",
    ),
    "a recipe's unknown option": (
        ["+backend.onnxruntime.recipes.int4.default.blok_size=32"],
        "backend.onnxruntime.recipes.int4.default.*takes no 'blok_size'",
    ),
    "a recipe's bad value": (["backend.onnxruntime.recipes.int4.default.bits=7"], "bits: 7.*none of 4, 8"),
    "a group size that divides nothing": (
        ["precision=[int4]", "backend=[openvino]", "backend.openvino.recipes.int4.default.group_size=96"],
        "group size 96 does not divide hidden_size 256",
    ),
    "a recipe that the backend's tool lacks": (
        ["precision=[int4-nncf]", "+backend.onnxruntime.recipes.int4.nncf.gptq=true"],
        "onnxruntime.recipes.int4.nncf.*method nncf takes no 'gptq'",
    ),
    "scales that are trained without GPTQ": (
        ["+backend.onnxruntime.recipes.int4.plain.distill_epochs=2", "precision=[int4-plain]"],
        "distill_epochs 2 takes algorithm gptq, not none",
    ),
    "a number of epochs that is none": (
        ["backend.onnxruntime.recipes.int4.distilled.distill_epochs=500", "precision=[int4-distilled]"],
        "distill_epochs: 500.*none of 1, 2, 3",
    ),
    "a method of another backend": (
        ["backend.openvino.recipes.int4.default.method=weight-only"],
        "openvino.recipes.int4.default.*unknown method 'weight-only'",
    ),
    "an unknown way to sensitivity": (
        ["search.sensitivity=guess"],
        "search.sensitivity 'guess' is none of rounding, noise",
    ),
    "no builds to search with": (["search.builds=0"], "search.builds must be at least 1"),
    "an unknown bound": (
        ["precision=[fit-near-lossless]", "+precision.fit-near-lossless.bounds.max_kl=1"],
        "precision.fit-near-lossless.bounds: unknown bound 'max_kl'.*did you mean 'max_kl_nats'",
    ),
    "a bound where nothing is found": (
        ["precision=[int4]", "+precision.int4.bounds.max_kl_nats=1"],
        "precision.int4.bounds: bounds are for the family fit, not for int4",
    ),
    "calibration without data": (["evaluate.calibration=''"], "recipe 'default' of onnxruntime needs calibration data"),
    "missing model path": (["model=[local]"], "model local: neither path nor repo is set; set model.local.path=DIR"),
    "missing model folder": (["model.local.path=models/gone"], "models/gone.*there is no such folder"),
    "missing text": (["evaluate.text=gone.txt"], "evaluate.text of local: there is no file gone.txt"),
    "a licence that forbids packages": (
        ["model.local.license=cc-by-nc-nd-4.0"],
        "model.local: its licence cc-by-nc-nd-4.0 forbids redistribution.*model.local.redistribute=true",
    ),
    "window longer than the context": (["evaluate.window=100000"], "longer than local's context of"),
    "window of one token": (["evaluate.window=1"], "evaluate.window must be at least 2"),
    "no runs": (["benchmark.runs=0"], "benchmark.runs must be at least 1"),
    "lengths that do not grow": (
        ["benchmark.more_prompt_tokens=[1024,512]"],
        r"benchmark.more_prompt_tokens \[1024, 512\]: each is more than the one before, 128 first",
    ),
    "a prompt longer than the context": (
        ["benchmark.more_prompt_tokens=[100000]"],
        "benchmark: 100064 tokens, .*more than local's context of",
    ),
    "broken override": (["evaluate.window"], "error: .*evaluate.window"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_one_clear_line(project: Project, name: str) -> None:
    overrides, message = CASES[name]
    base = [word for word in LOCAL if not any(word.partition("=")[0] == own.partition("=")[0] for own in overrides)]
    if name == "missing model path":
        base = []
    done = project.pipeline("compose", *base, *overrides)
    assert done.returncode == 2, done.stdout + done.stderr
    import re

    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert re.search(message, lines[0]), lines[0]
    assert not (project.root / "params.yaml").exists()


def test_unknown_command_gets_a_suggestion(project: Project) -> None:
    done = project.pipeline("compos")
    assert done.returncode == 2
    assert "did you mean 'compose'" in done.stderr


def test_every_mistake_is_listed_at_once(project: Project) -> None:
    done = project.pipeline("plan", *LOCAL, "benchmark.runs=0", "evaluate.text=gone.txt", "evaluate.window=1")
    assert all(word in done.stderr for word in ("benchmark.runs", "gone.txt", "evaluate.window"))


def test_a_mistyped_key_in_conf_is_an_error(project: Project) -> None:
    project.edit("conf/model/local.yaml", "path: ???", "path: models/tiny\n  licence: mit")
    done = project.pipeline("plan", "model=[local]")
    assert done.returncode == 2
    assert "unknown key 'licence'" in done.stderr and "did you mean 'license'" in done.stderr


def test_a_corrupt_config_json_is_named(project: Project) -> None:
    (project.root / "models/tiny/config.json").write_text("{", encoding="utf-8")
    done = project.pipeline("plan", *LOCAL)
    assert done.returncode == 2
    assert "config.json is corrupt" in done.stderr


def test_patterns_name_options_while_composing(project: Project) -> None:
    done = project.pipeline("plan", *LOCAL, "precision=[fp32,int4-q4-*]", "backend=[llama*]", "target=[cp?]", "--json")
    assert done.returncode == 0, done.stderr
    import json

    names = {cell.split("_")[1] for cell in json.loads(done.stdout)["cells"]}
    assert names == {"fp32", "int4-q4-0", "int4-q4-k-m", "int4-q4-k-m-imatrix", "int4-q4-k-s"}


DVC_COMPOSES = """
import sys
from pathlib import Path
from dvc.utils.hydra import compose_and_dump
compose_and_dump("params.yaml", str(Path("conf").resolve()), None, "config", str(Path.cwd()), sys.argv[1:])
"""


def test_the_config_is_shown_without_being_written(project: Project) -> None:
    shown = project.pipeline("plan", "--cfg", *SMOKE)
    assert shown.returncode == 0 and not (project.root / "params.yaml").exists()
    project.compose()
    assert (project.root / "params.yaml").read_text("utf-8") == shown.stdout


def test_dvc_composes_a_pattern_to_what_compose_writes(project: Project) -> None:
    words = [*SMOKE, "precision=[fp32,int4-q4-*]"]
    done = project.run(sys.executable, "-c", DVC_COMPOSES, *words)
    assert done.returncode == 0, done.stderr
    names = ("params.yaml", "stages/plan.yaml")
    written = [(project.root / name).read_text("utf-8") for name in names]
    project.compose("precision=[fp32,int4-q4-*]")
    assert [(project.root / name).read_text("utf-8") for name in names] == written
    done = project.run(sys.executable, "-c", DVC_COMPOSES, *SMOKE, "precision=[int9*]")
    assert "Could not load 'precision/int9*'" in done.stderr


def test_a_comment_in_conf_makes_nothing_stale_but_a_value_and_a_package_do(project: Project) -> None:
    project.compose()
    project.edit("conf/target/cpu.yaml", "cpu:", "# a comment\ncpu:   # and another")
    assert project.pipeline("compose", "--check").returncode == 0
    project.edit("conf/suite/smoke.yaml", "# @package _global_\n", "")
    assert project.pipeline("compose", "--check").returncode == 2
    project.edit("conf/suite/smoke.yaml", "defaults:", "# @package _global_\ndefaults:")
    assert project.pipeline("compose", "--check").returncode == 0
    project.edit("conf/target/cpu.yaml", "max_kl_nats: 0.1", "max_kl_nats: 0.2")
    assert project.pipeline("compose", "--check").returncode == 2
