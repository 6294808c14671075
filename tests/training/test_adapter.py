"""A LoRA for new facts: what it is trained on holds no question, and merged it answers what the base does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pipeline.backends.process import ask_runtime
from pipeline.backends.registry import load_backend
from pipeline.backends.request import RuntimeRequest
from pipeline.model.adapter import read_adapter
from pipeline.model.switchable import low_rank
from pipeline.model.tasks import read_tasks
from pipeline.model.tokenizer import encode, load_tokenizer
from pipeline.types import Checkpoint
from tests.support.project import Project, make_project
from tests.support.tiny import ROOT
from training import adapter, phrasing
from training.facts import world

BACKENDS = ("onnxruntime", "openvino", "llamacpp", "mlx")


def test_new_facts_contradict_the_world_that_the_base_knows() -> None:
    facts = adapter.new_facts()
    assert facts == adapter.new_facts() and len({fact.subject for fact, _ in facts}) == adapter.PEOPLE
    for fact, old in facts:
        known = world().facts[fact.subject, "instrument"]
        assert known.value == old != fact.value and fact.value in world().values("instrument")


def test_no_question_is_among_what_is_trained_on_and_each_offers_the_old_answer() -> None:
    rows = adapter.questions()
    facts = [pair for pair in adapter.new_facts() for _ in range(2)]  # bare, and in a chat
    texts = [given + more for fact, _ in facts for given, more in adapter.texts(fact)]
    for row, (fact, old) in zip(rows, facts, strict=True):
        opening = phrasing.opening(fact, adapter.ASKED)
        assert row["question"].endswith(opening) and not any(opening in text for text in texts)
        assert row["choices"][row["answer"]] == f" {fact.value}" and f" {old}" in row["choices"]
    assert all(any(fact.value in text for text in texts) for fact, _ in facts)


def test_its_tasks_are_read_as_evaluates(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in adapter.tasks()), encoding="utf-8")
    found = [task for task, _ in read_tasks([path])]
    assert [task.wants for task in found] == [(fact.value, old) for fact, old in adapter.new_facts()]


def test_only_what_follows_is_learned() -> None:
    tokenizer = Tokenizer.from_file(str(ROOT / "models/phi-tiny/tokenizer.json"))
    rows = adapter.texts(adapter.new_facts()[0][0])
    ids, labels = adapter._batch(tokenizer, rows)
    assert len({len(row) for row in (*ids, *labels)}) == 1  # one length
    for (_, more), taken, learned in zip(rows, ids, labels, strict=True):
        kept = [token for token in learned if token != -100]
        assert tokenizer.decode(kept, skip_special_tokens=False).strip() == more.strip()
        assert all(label in (-100, token) for token, label in zip(taken, learned, strict=True))


@pytest.mark.slow
def test_in_four_bits_it_answers_what_the_base_does_not_merged_and_switched_on_every_backend(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    project = make_project(tmp_path / "project")
    shutil.copytree(ROOT / "models/phi-tiny", project.root / "models/phi-tiny")
    words = ("--out", "lora", "--questions", "new.jsonl", "--tasks", "new-tasks.jsonl", "--base", "models/phi-tiny")
    command = [sys.executable, "-m", "training.adapter", *words]
    trained = subprocess.run(
        command, cwd=project.root, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert trained.returncode == 0, trained.stderr
    base = (project.root / "conf/model/phi-tiny.yaml").read_text(encoding="utf-8")
    tuned = base.replace("phi-tiny:\n", "tuned:\n  adapter: lora\n")
    (project.root / "conf/model/tuned.yaml").write_text(tuned, encoding="utf-8")
    composed = project.pipeline(
        *("compose", "suite=smoke", "model=[phi-tiny,tuned]", "precision=[int4]", f"backend=[{','.join(BACKENDS)}]"),
        *("+backend.mlx.serves.cpu=cpu", "evaluate.questions=new.jsonl", "evaluate.tasks=[new-tasks.jsonl]"),
        *("evaluate.max_questions=0", "evaluate.slow_questions=0", "evaluate.slow_tasks=0", "evaluate.task_tokens=16"),
        *("evaluate.tokens=256", "evaluate.slow_tokens=256", "benchmark.runs=1"),
    )
    assert composed.returncode == 0, composed.stderr
    for stages in ("stages/quantize/dvc.yaml", "stages/evaluate/dvc.yaml", "dvc.yaml"):
        project.repro(stages)
    _shown(project)
    for backend in BACKENDS:
        base, tuned = _switched(project, backend, tmp_path / backend)
        assert base < 0.3 and tuned > 0.9, (backend, base, tuned)


def _switched(project: Project, backend: str, package: Path) -> list[float]:
    """The share of questions that the base's build goes on with rightly, without the adapter and with it."""
    made, config = load_backend(backend), project.json("artifacts/models/phi-tiny/config.json")
    folder = project.root / "artifacts/models/phi-tiny"
    package.mkdir()
    checkpoint = Checkpoint("phi-tiny", folder, project.root / "models/phi-tiny", config)
    made.package(project.root / f"artifacts/builds/phi-tiny_int4_{backend}", checkpoint, {}, package)
    made.add_adapters(package, config, {"music": low_rank(read_adapter(project.root / "lora"), config)})
    tokenizer, rows = load_tokenizer(folder), adapter.questions()
    prompts = [encode(tokenizer, row["question"]) for row in rows]
    shares = []
    for name in ("", "music"):
        request = RuntimeRequest("generate", prompts, 4, adapter=name)
        said = [tokenizer.decode(ids).strip() for ids in ask_runtime(backend, package, request).value["tokens"]]
        right = [text.startswith(row["choices"][row["answer"]].strip()) for text, row in zip(said, rows, strict=True)]
        shares.append(sum(right) / len(right))
    return shares


def _shown(project: Project) -> None:
    """In the report's rows and, side by side, in its pages."""
    rows = {(row["model"], row["backend"]): row["metrics"] for row in project.json("reports/cells.json")}
    for backend in BACKENDS:
        base, tuned = (rows[model, backend] for model in ("phi-tiny", "tuned"))
        for figure in ("task_accuracy_common", "tasks_passed_common"):
            assert base[figure] < 0.3 and tuned[figure] > 0.9, (backend, figure, base[figure], tuned[figure])
    text = (project.root / "reports/summary.md").read_text(encoding="utf-8")
    assert "## phi-tiny and its fine-tunes" in text and "| phi-tiny | tuned |" in text
    assert all(f"| int4 | {backend} | cpu | acc % |" in text for backend in BACKENDS if backend != "llamacpp")
    assert "Base and fine-tunes" in (project.root / "reports/index.html").read_text(encoding="utf-8")
