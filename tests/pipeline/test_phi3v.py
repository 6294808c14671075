"""Phi-3.5-vision through the whole line: random weights, the real layout."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.phi3v import written
from tests.support.project import Project, make_project

CELLS = ("local_fp32_onnxruntime_cpu", "local_int4-plain_onnxruntime_cpu")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose model sees, after a whole run on four questions."""
    project = make_project(tmp_path_factory.mktemp("phi3v") / "project")
    written(project.root / "models/sees")
    project.compose(
        *("suite=default", "backend=[onnxruntime]", "target=[cpu]", "precision=[fp32,int4-plain]"),
        *("model.local.path=models/sees", "model.local.modality=vision", "evaluate.tasks=[]"),
        *("model.local.pictures=data/pictures/evaluation.jsonl", "evaluate.max_questions=4"),
        *("evaluate.decode_prompts=2", "benchmark.runs=1", "benchmark.warmup=0", "benchmark.new_tokens=4"),
    )
    project.repro()
    return project


@pytest.mark.slow
def test_its_cells_are_made_and_judged_on_pictures(seen: Project) -> None:
    rows = seen.json("reports/cells.json")
    assert [row["id"] for row in rows] == list(CELLS)
    assert [row["status"] for row in rows] == ["ok", "ok"], [row["reason"] for row in rows]
    fp32, int4 = (row["metrics"] for row in rows)
    assert fp32["kl_nats_mean"] < 1e-9 and fp32["kl_nats_mean_default_mode"] < 1e-6
    assert fp32["top1_agreement"] == 1 and int4["kl_nats_mean"] > 1e-3
    assert fp32["decode_tokens_per_s"] > 0 and int4["bits_per_weight"] < fp32["bits_per_weight"] / 2
    for row in rows:
        assert seen.json(f"artifacts/evaluations/{row['id'].removesuffix('_cpu')}.json")["decode"]["agreement"] == 1


@pytest.mark.slow
def test_the_cards_instruction_says_what_was_measured(seen: Project) -> None:
    package = seen.root / "packages" / CELLS[0]
    code = re.search(r"```python\n(.*?)```", (package / "README.md").read_text("utf-8"), re.DOTALL)
    assert code and "<|image_1|>\\n" in code[1]
    done = subprocess.run(
        [sys.executable, "-c", code[1]], cwd=package.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    said = seen.json(f"packages/{CELLS[0]}/manifest.json")["sample"]["said"]
    assert said and done.stdout.strip().startswith(said[:20])
    assert not Path("example.png").exists()
