"""Phi-4-multimodal with sounds through the whole line: random weights, the real layout."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.project import Project, make_project
from tests.support.sounds import written

CELLS = ("local_fp32_onnxruntime_cpu", "local_int4-plain_onnxruntime_cpu")


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose model hears, after a whole run on four questions."""
    project = make_project(tmp_path_factory.mktemp("speech") / "project")
    written(project.root / "models/hears")
    project.compose(
        *("suite=default", "backend=[onnxruntime]", "target=[cpu]", "precision=[fp32,int4-plain]"),
        *("model.local.path=models/hears", "model.local.modality=speech", "evaluate.tasks=[]"),
        *("model.local.sounds=data/sounds/evaluation.jsonl", "evaluate.max_questions=4"),
        *("evaluate.decode_prompts=2", "benchmark.runs=1", "benchmark.warmup=0", "benchmark.new_tokens=4"),
    )
    project.repro()
    return project


@pytest.mark.slow
def test_its_cells_are_made_and_judged_on_sounds(heard: Project) -> None:
    rows = heard.json("reports/cells.json")
    assert [row["id"] for row in rows] == list(CELLS)
    assert [row["status"] for row in rows] == ["ok", "ok"], [row["reason"] for row in rows]
    fp32, int4 = (row["metrics"] for row in rows)
    assert fp32["kl_nats_mean"] < 1e-9 and fp32["kl_nats_mean_default_mode"] < 1e-3
    assert fp32["top1_agreement"] == 1 and int4["kl_nats_mean"] > 1e-3
    assert fp32["ttft_ms_p50"] > 0 and fp32["decode_tokens_per_s"] > 0
    for row in rows:
        assert heard.json(f"artifacts/evaluations/{row['id'].removesuffix('_cpu')}.json")["decode"]["agreement"] == 1


@pytest.mark.slow
def test_the_cards_instruction_says_what_was_measured(heard: Project) -> None:
    package = heard.root / "packages" / CELLS[0]
    card = (package / "README.md").read_text("utf-8")
    assert "audio-text-to-text" in card and "answers to questions on sounds" in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code and "<|audio_1|>" in code[1]
    done = subprocess.run(
        [sys.executable, "-c", code[1]], cwd=package.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    said = heard.json(f"packages/{CELLS[0]}/manifest.json")["sample"]["said"].strip("\ufffd")
    assert said and said[:20] in done.stdout  # half a character of random text is written otherwise
