"""A new backend is three files and an extra: a package folder, a YAML, a contract test. Nothing else is touched."""

from __future__ import annotations

import shutil
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.backends.registry import backends
from tests.support.project import SMOKE, Project
from tests.support.tiny import ROOT

TOY = Path(__file__).parent / "toy"
CELLS = ("local_fp32_toy_cpu", "local_int8_toy_cpu")


@pytest.fixture(scope="module")
def toy(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished project into which the toy backend's files were put, after a whole run with it."""
    root = tmp_path_factory.mktemp("toy") / "project"
    shutil.copytree(finished.root, root, symlinks=True)
    shutil.copytree(TOY / "toy", root / "pipeline/backends/toy")
    text = (TOY / "toy.yaml").read_text(encoding="utf-8").replace("NUMPY", metadata.version("numpy"))
    (root / "conf/backend/toy.yaml").write_text(text, encoding="utf-8")
    project = Project(root)
    project.compose("backend=[toy]", "precision=[fp32,int8]")
    project.repro()
    return project


def test_its_cells_are_planned_run_and_compared(toy: Project) -> None:
    rows = toy.json("reports/cells.json")
    assert [row["id"] for row in rows] == list(CELLS)
    assert [row["status"] for row in rows] == ["ok", "ok"], [row["reason"] for row in rows]
    fp32, int8 = (row["metrics"] for row in rows)
    assert fp32["kl_nats_mean"] < 1e-6 < int8["kl_nats_mean"] < 0.1
    assert int8["size_bytes"] < fp32["size_bytes"] / 2 and int8["bits_per_weight"] < 9
    assert fp32["decode_tokens_per_s"] > 0
    assert rows[1]["shown"] == "int8 R8"


def test_card_formats_and_pictures_know_it_by_its_yaml(toy: Project) -> None:
    card = (toy.root / f"packages/{CELLS[1]}/README.md").read_text(encoding="utf-8")
    assert "library_name: toylib" in card and "- toys" in card and "pip install toylib" in card
    page = toy.root / "formats.md"
    page.write_text("<!-- figures: start -->\n<!-- figures: end -->\n", encoding="utf-8")
    done = toy.pipeline("report", "--fill", "formats.md")
    assert done.returncode == 0, done.stderr
    assert "| TOY | int8 R8 |" in page.read_text(encoding="utf-8")
    assert (toy.root / "reports/quality_size.png").stat().st_size > 10_000


def test_the_contract_of_all_backends_holds_for_it(toy: Project) -> None:
    for name in ("tests", "benchmarks", "models/phi-tiny"):
        shutil.copytree(ROOT / name, toy.root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(TOY / "test_toy.py", toy.root / "tests/contract/test_toy.py")
    done = toy.run(sys.executable, "-m", "pytest", "-n", "0", "tests/contract/test_toy.py")
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout


def test_bad_recipes_of_it_are_refused_while_planning(toy: Project) -> None:
    wrong = "backend.toy.recipes.int8.default.rounding=up"
    done = toy.pipeline("plan", *SMOKE, "backend=[toy]", "precision=[int8]", wrong)
    assert done.returncode == 2 and "'rounding: up' is none of nearest, down" in done.stderr


def test_the_contract_that_backends_are_independent_lists_them_all() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (independent,) = (contract for contract in contracts if contract["type"] == "independence")
    assert sorted(independent["modules"]) == [f"pipeline.backends.{name}" for name in backends()]
