"""lm-evaluation-harness on a package: its figures are those of lm_eval's own model on the checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import layout
from pipeline.answers import HarnessFile
from pipeline.files import read_json, write_json
from pipeline.packaging.tasks_file import attach, attached
from tests.support.tiny import ROOT

CELL = "phi-tiny_int4_llamacpp_cpu"
CHOICES = """\
task: local_{name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
{more}
"""
MORE = {
    "choice": "output_type: multiple_choice\ndoc_to_text: '{{question}}'\ndoc_to_choice: choices\n"
    "doc_to_target: answer\ntarget_delimiter: ''\nmetric_list: [{metric: acc}, {metric: acc_norm}]",
    "text": "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{question}}'\n"
    "metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]",
    "said": "output_type: generate_until\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{choices[answer]}}'\n"
    "generation_kwargs: {until: ['.'], max_gen_toks: 12}\nmetric_list: [{metric: exact_match}]",
}
HF = """
import json, sys
import lm_eval
from lm_eval.tasks import TaskManager
from pipeline.lmeval.run import figures
manager = TaskManager(include_path=sys.argv[2])
found = lm_eval.simple_evaluate(
    "hf", {"pretrained": sys.argv[1], "dtype": "float32"}, tasks=sys.argv[3].split(","), limit=8, device="cpu",
    task_manager=manager, bootstrap_iters=0, log_samples=False,
)
print(json.dumps(figures(found["results"])))
"""


def harness(sha256: str = "ab", **changes: Any) -> HarnessFile:
    return HarnessFile(1, CELL, "llamacpp", sha256, {"a/acc": 0.5, "a/acc_stderr": 0.1}, {"a": {"mode": "accuracy"}})


def test_figures_are_kept_by_task_for_the_package_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not attach(harness())  # no such cell
    write_json(layout.package_record(CELL), {"status": "ok", "sha256": "ab"})
    assert not attach(harness("cd")) and not layout.harness(CELL).exists()
    assert attach(harness())
    assert attach(HarnessFile(1, CELL, "llamacpp", "ab", {"b/acc": 1.0}, {"b": {}}))
    held = attached(CELL, "ab")
    assert held is not None and held.figures == {"a/acc": 0.5, "a/acc_stderr": 0.1, "b/acc": 1.0}
    assert set(held.settings) == {"a", "b"}
    assert attached(CELL, "cd") is None and read_json(layout.harness(CELL))["cell"] == CELL


def test_names_of_figures_are_lm_evals_without_the_filter_that_does_nothing() -> None:
    from pipeline.lmeval.run import figures

    found = {"gsm8k": {"alias": "gsm8k", "exact_match,strict-match": 0.5, "acc,none": 1, "acc_stderr,none": "N/A"}}
    assert figures(found) == {"gsm8k/exact_match.strict-match": 0.5, "gsm8k/acc": 1.0}


def test_a_package_of_fixed_shapes_is_refused_in_one_line_before_lm_eval_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.packaging.manifest import digests

    (tmp_path / "static.json").write_text("{}", encoding="utf-8")
    cell = {"id": "phi-tiny_int4_onnxruntime_qnn-htp", "backend": "onnxruntime"}
    write_json(tmp_path / layout.MANIFEST, {"status": "ok", "cell": cell, "files": digests(tmp_path)})
    hidden = "import sys; sys.modules['lm_eval'] = None; from pipeline.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "tasks", str(tmp_path), "--tasks", "arc_easy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "graphs of fixed shapes say neither where an answer ends nor how a chat is written" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "llamacpp", "mlx"])
def test_figures_of_a_package_are_those_of_transformers(tmp_path: Path, backend: str) -> None:
    pytest.importorskip("lm_eval")
    from pipeline.backends.registry import load_backend
    from pipeline.packaging.manifest import SUMS, digests, sums
    from pipeline.types import Checkpoint
    from tests.support.backends import conf_of
    from tests.support.tiny import write_canonical

    model, export, package = tmp_path / "model", tmp_path / "export", tmp_path / "package"
    config = write_canonical(model)
    checkpoint, made = Checkpoint("tiny", model, model, config), load_backend(backend)
    export.mkdir()
    made.convert(checkpoint, conf_of(backend)["forms"]["fp32"], export)
    package.mkdir()
    made.package(export, checkpoint, {}, package)
    files = digests(package)
    (package / SUMS).write_text(sums(files))
    cell = {"id": f"tiny_fp32_{backend}_cpu", "backend": backend}
    write_json(package / layout.MANIFEST, {"status": "ok", "cell": cell, "files": digests(package)})
    folder = tmp_path / "tasks"
    folder.mkdir()
    data = ROOT / "data/phi-tiny/questions.jsonl"
    for name, more in MORE.items():
        (folder / f"{name}.yaml").write_text(CHOICES.format(name=name, data=data, more=more))
    names = [f"local_{name}" for name in MORE]
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    words = ("--tasks", *names, "--include-path", str(folder), "--limit", "8", "--json")
    own = json.loads(run("-m", "pipeline", "tasks", str(package), *words))["figures"]
    its = json.loads(run("-c", HF, str(model), str(folder), ",".join(names)).splitlines()[-1])
    assert own.keys() == its.keys() and len(own) >= 5
    for name, value in own.items():
        assert value == pytest.approx(its[name], rel=2e-4), name
