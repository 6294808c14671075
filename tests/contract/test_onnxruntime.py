"""ONNX Runtime keeps the contract; its packages run as people run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.backends.onnxruntime.backend import OnnxRuntimeBackend
from pipeline.backends.process import ask_runtime
from pipeline.backends.request import RuntimeRequest
from pipeline.errors import ToolError
from pipeline.types import Checkpoint
from tests.contract.contract import BackendContract, Workshop
from tests.support.onnx_files import exported
from tests.support.tiny import ROOT, tiny_config, write_checkpoint


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("onnxruntime"))


class TestOnnxRuntime(BackendContract):
    name = "onnxruntime"

    def test_the_fp16_form_runs_on_the_cpu(self, workshop: Workshop) -> None:
        out, stats = workshop.build(workshop.recipe("fp16", "default"))
        assert stats.bits_per_weight == 16
        answer = ask_runtime(self.name, out, RuntimeRequest("generate", [[5, 6, 7]], 4))
        assert len(answer.value["tokens"][0]) == 4


def test_a_failing_builder_is_one_readable_line(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"broken")
    (tmp_path / "out").mkdir()
    with pytest.raises(ToolError, match="the model builder failed") as caught:
        OnnxRuntimeBackend().convert(
            Checkpoint("tiny", folder, folder, tiny_config()),
            {"precision": "fp32", "provider": "cpu"},
            tmp_path / "out",
        )
    assert len(str(caught.value).splitlines()) == 1


def test_the_context_is_capped_at_the_sliding_window_that_the_builder_drops(tmp_path: Path) -> None:
    import json

    folder = write_checkpoint(tmp_path / "model", sliding_window=512)
    (tmp_path / "out").mkdir()
    checkpoint = Checkpoint("tiny", folder, folder, tiny_config(sliding_window=512))
    OnnxRuntimeBackend().convert(checkpoint, {"precision": "fp32", "provider": "cpu"}, tmp_path / "out")
    config = json.loads((tmp_path / "out/genai_config.json").read_text(encoding="utf-8"))
    assert config["model"]["context_length"] == 512 and config["search"]["max_length"] <= 512


def test_the_runtime_process_imports_its_runtime_alone(export: Path) -> None:
    code = (
        "import io, json, sys\n"
        f"sys.argv = ['runtime', {str(export)!r}]\n"
        "sys.stdin = io.StringIO(json.dumps(dict(task='generate', prompts=[[5, 6]], new_tokens=2, threads=1)))\n"
        "from pipeline.backends.request import serve\n"
        "from pipeline.backends.onnxruntime.runtime import answer\n"
        "code = serve(answer)\n"
        "heavy = {'torch', 'transformers', 'onnx', 'onnxruntime', 'nncf', 'mlflow', 'hydra'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_run_instruction_works_when_pasted(export: Path, tmp_path: Path) -> None:
    package = tmp_path / "my-package"
    package.mkdir()
    backend = OnnxRuntimeBackend()
    backend.package(export, Checkpoint("tiny", export, export, tiny_config()), {}, package)
    text = backend.run_instruction(tmp_path, "my-package", 'Who "is" {he}?')
    code = text.partition("```python\n")[2].partition("```")[0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_every_number_of_threads_gives_the_same_figures(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.arange(3, 67)[None]
    found = []
    for threads in ("1", "2"):
        monkeypatch.setenv("PHI_DEPLOY_THREADS", threads)
        with OnnxRuntimeBackend().open(export) as session:
            found.append(session.logits(ids))
    assert np.abs(found[0] - found[1]).max() < 1e-4
