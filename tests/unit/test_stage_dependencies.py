"""Every stage depends on all code that can change its bytes, through the file of inputs that guard writes."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest
import yaml

from pipeline.backends.registry import backends
from pipeline.harness import inputs
from tests.support.tiny import ROOT

# What a stage runs through, without a say in the result: what plans it (its product reaches the stage as settings), how
# it runs here, names, paths, errors, how files are written.
NEUTRAL = (
    *("pipeline.matrix", "pipeline.harness", "pipeline.backends.registry"),
    *("pipeline.entries", "pipeline.errors", "pipeline.files", "pipeline.layout", "pipeline.strict", "pipeline.types"),
    *(
        "pipeline.answers",
        "pipeline.records",
        "pipeline.found",
        "pipeline.rows",
        "pipeline.planned",
        "pipeline.terminal",
    ),
)
EMPTY = {"pipeline", "pipeline.backends", "pipeline.metrics", "pipeline.model", "pipeline.packaging", "stages"}
DECIDE = {  # and yet they decide a result, or its form
    "convert": {"pipeline.matrix.sizes"},
    **dict.fromkeys(("sensitivity", "variants", "fit"), {"pipeline.found"}),
    "evaluate": {"pipeline.answers", "pipeline.records"},
    "package": {"pipeline.answers", "pipeline.records"},
    "benchmark": {"pipeline.records"},
    "report": {"pipeline.matrix.gates", "pipeline.answers", "pipeline.records", "pipeline.rows"},
}
USES_BACKEND = {"convert", "variants", "fit", "quantize", "evaluate", "package", "benchmark"}
ALWAYS_RUN = {"guard", "track"}

FILES = (ROOT / "dvc.yaml", *sorted((ROOT / "stages").glob("*/dvc.yaml")))
STAGES = {name: body for file in FILES for name, body in yaml.safe_load(file.read_text("utf-8"))["stages"].items()}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("pipeline", "stages", cache_dir=None, exclude_type_checking_imports=True)


def code_of(stage: str, graph: grimp.ImportGraph) -> set[str]:
    """Modules that the stage's code imports, at whatever depth, and those of its backend."""
    own = "pipeline.reporting" if stage == "report" else f"stages.{stage}"
    roots = {own, *graph.find_descendants(own)}
    if stage in USES_BACKEND:
        for name in backends():
            package = f"pipeline.backends.{name}"
            roots |= {package, *graph.find_descendants(package)}
    found = set(roots)
    for root in roots:
        found |= graph.find_upstream_modules(root)
    return found


def neutral(module: str, stage: str) -> bool:
    if module in DECIDE.get(stage, ()):
        return False
    return module in EMPTY | {f"stages.{stage}"} or any(f"{module}.".startswith(f"{room}.") for room in NEUTRAL)


def covered(module: str, deps: list[str]) -> bool:
    path = Path(*module.split("."))
    files = {f"{path.as_posix()}.py", f"{path.as_posix()}/__init__.py"}
    return any(dep in files or any(file.startswith(f"{dep}/") for file in files) for dep in deps)


@pytest.mark.parametrize("stage", sorted(set(STAGES) - ALWAYS_RUN))
def test_a_stage_depends_on_all_code_that_can_change_its_bytes(stage: str, graph: grimp.ImportGraph) -> None:
    deps = list(STAGES[stage].get("do", STAGES[stage])["deps"])
    if stage in inputs.STAGES:
        assert f"inputs/{stage}/${{key}}.json" in deps
        deps = [path for backend in backends() for path in inputs.STAGES[stage].code_of(backend)]
    missing = {module for module in code_of(stage, graph) if not neutral(module, stage) and not covered(module, deps)}
    assert not missing


def test_code_that_is_named_exists() -> None:
    for name, stage in inputs.STAGES.items():
        for path in (path for backend in backends() for path in stage.code_of(backend)):
            assert (ROOT / path).exists(), (name, path)


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
    found = {name for name, stage in inputs.STAGES.items() if "pipeline/backends/{backend}" in stage.code}
    assert found == USES_BACKEND


def test_dvcs_declarations_say_what_the_table_says() -> None:
    """The command, the group and the results of every stage over the plan."""
    for name, stage in inputs.STAGES.items():
        body = STAGES[name]
        assert body["foreach"] == f"${{{stage.group}}}"
        assert body["do"]["cmd"] == f"python -m stages {name} ${{key}}"
        assert body["do"]["outs"] == [path.as_posix() for path in stage.outs("${key}")]


def test_rooms_without_a_say_exist_and_packages_that_count_for_nothing_are_empty() -> None:
    for module in (*NEUTRAL, *EMPTY, *(module for modules in DECIDE.values() for module in modules)):
        path = ROOT / Path(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), module
    for module in EMPTY:
        text = (ROOT / Path(*module.split(".")) / "__init__.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) == 1 and text.startswith('"""'), module


ROOMS = ("pipeline", "stages", "tests", "benchmarks", "training", "hydra_plugins")


def test_a_file_holds_one_idea() -> None:
    lengths = {
        path: len(path.read_text("utf-8").splitlines()) for room in ROOMS for path in (ROOT / room).rglob("*.py")
    }
    assert not {path: length for path, length in lengths.items() if length > 250}
