"""Every stage depends on all code that can change its bytes, through the file of inputs that guard writes."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest
import yaml

from pipeline import inputs
from pipeline.registry import BACKENDS
from tests.support.tiny import ROOT

# What a stage runs through, without a say in the result: names, paths, errors, how files are written, whether there
# is room for them, logging; and recipes.py, whose product reaches the stages as params.
NEUTRAL = {
    "pipeline",
    "pipeline.backends",
    "pipeline.disk",
    "pipeline.errors",
    "pipeline.files",
    "pipeline.host",
    "pipeline.inputs",
    "pipeline.hidden",
    "pipeline.layout",
    "pipeline.metrics",
    "pipeline.outcome",
    "pipeline.params",
    "pipeline.recipes",
    "pipeline.registry",
    "pipeline.runtime",
    "pipeline.steps",
    "pipeline.types",
    "stages",
}
# fetch depends on hub.py through `plan.models.<model>.source`, and only where the model is a hub id
CONDITIONAL = {("fetch", "pipeline.hub")}
USES_BACKEND = {"convert", "quantize", "evaluate", "package", "benchmark"}
ALWAYS_RUN = {"guard", "track"}

FILES = (ROOT / "dvc.yaml", *sorted((ROOT / "stages").glob("*/dvc.yaml")))
STAGES = {name: body for file in FILES for name, body in yaml.safe_load(file.read_text("utf-8"))["stages"].items()}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("pipeline", "stages", cache_dir=None, exclude_type_checking_imports=True)


def code_of(stage: str, graph: grimp.ImportGraph) -> set[str]:
    """Modules that the stage's script imports, at whatever depth, and those of its backend."""
    roots = {f"stages.{stage}", *graph.find_descendants(f"stages.{stage}")}
    if stage in USES_BACKEND:
        for name in BACKENDS:
            package = f"pipeline.backends.{name}"
            roots |= {package, *graph.find_descendants(package)}
    found = set(roots)
    for root in roots:
        found |= graph.find_upstream_modules(root)
    return found


def covered(module: str, deps: list[str]) -> bool:
    path = Path(*module.split("."))
    files = {f"{path.as_posix()}.py", f"{path.as_posix()}/__init__.py"}
    return any(dep in files or any(file.startswith(f"{dep}/") for file in files) for dep in deps)


@pytest.mark.parametrize("stage", sorted(set(STAGES) - ALWAYS_RUN))
def test_a_stage_depends_on_all_code_that_can_change_its_bytes(stage: str, graph: grimp.ImportGraph) -> None:
    deps = list(STAGES[stage].get("do", STAGES[stage])["deps"])
    if stage in inputs.STAGES:
        assert f"inputs/{stage}/${{key}}.json" in deps
        deps = [path for backend in BACKENDS for path in inputs.code_of(stage, backend)]
    missing = {
        module
        for module in code_of(stage, graph)
        if module not in NEUTRAL | {f"stages.{stage}", f"stages.{stage}.__main__"}  # the script: a key and its step
        and (stage, module) not in CONDITIONAL
        and not covered(module, deps)
    }
    assert not missing


def test_code_that_is_named_exists() -> None:
    for stage, (_, paths) in inputs.STAGES.items():
        for path in paths:
            assert all((ROOT / path.format(backend=name)).exists() for name in BACKENDS), (stage, path)


def test_the_digest_of_a_folder_is_of_its_files_and_their_names(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    first = tmp_path / "code/a.py"
    first.write_text("x = 1\n")
    before = inputs.digest_code(tmp_path / "code")
    (tmp_path / "code/__pycache__").mkdir()
    (tmp_path / "code/__pycache__/a.pyc").write_bytes(b"bytecode")
    assert inputs.digest_code(tmp_path / "code") == before
    first.write_text("x = 2\n")
    edited = inputs.digest_code(tmp_path / "code")
    first.rename(tmp_path / "code/b.py")
    assert len({before, edited, inputs.digest_code(tmp_path / "code")}) == 3


def test_stages_that_use_a_backend_are_all_known() -> None:
    found = {name for name, (_, paths) in inputs.STAGES.items() if "pipeline/backends/{backend}" in paths}
    assert found == USES_BACKEND


def test_neutral_modules_exist() -> None:
    for module in NEUTRAL:
        path = ROOT / Path(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), module
