"""llama.cpp keeps the contract; its packages run as people run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from pipeline.backends.llamacpp.backend import LlamaCppBackend
from pipeline.backends.process import ask_runtime
from pipeline.backends.request import RuntimeRequest
from pipeline.errors import ArtifactError
from pipeline.types import Checkpoint
from tests.contract.contract import BackendContract, Workshop
from tests.support.gguf_files import converted
from tests.support.tiny import ROOT, tiny_config


class TestLlamaCpp(BackendContract):
    name = "llamacpp"
    kl_bound = {**BackendContract.kl_bound, "int6": 2e-2, "int5": 5e-2, "int3": 0.5, "int2": 2.0}

    def test_users_get_a_cache_in_16_bits(self, workshop: Workshop) -> None:
        build, _ = workshop.build(workshop.recipe("fp32", "default"))
        ids = np.arange(3, 35)[None]
        with workshop.backend.open(build) as accurate, workshop.backend.open(build, default_mode=True) as default:
            assert (accurate.settings["kv_cache"], default.settings["kv_cache"]) == ("f32", "f16")
            apart = np.abs(accurate.logits(ids) - default.logits(ids)).max()
        assert 0 < apart < 0.1

    def test_it_reports_what_llama_bench_does(self, workshop: Workshop) -> None:
        build, _ = workshop.build(workshop.recipe("int4", "default"))
        request = RuntimeRequest("measure", [list(range(3, 35))], 6, threads=1, warmup=0, runs=2)
        extra = ask_runtime(self.name, build, request).value["extra"]
        assert set(extra) == {"prefill_512_tokens_per_s", "decode_128_tokens_per_s"}
        assert all(len(runs) == 2 and min(runs) > 0 for runs in extra.values())


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An F32 file of a one-layer random model."""
    return converted(tmp_path_factory.mktemp("llamacpp"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", "cut or corrupt|cannot load"),
        ("foreign", "no GGUF"),
        ("other", "a bert model, not phi3"),
        ("none", "0 .gguf"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_clear_line(export: Path, tmp_path: Path, damage: str, message: str) -> None:
    path = tmp_path / "model.gguf"
    raw = (export / "model.gguf").read_bytes()
    if damage == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    elif damage == "foreign":
        path.write_bytes(b"PK\x03\x04" + raw[4:])
    elif damage == "other":
        writer = gguf.GGUFWriter(path, "bert")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    with pytest.raises(ArtifactError, match=message) as caught, LlamaCppBackend().open(tmp_path) as session:
        session.logits(np.arange(3, 9)[None])
    assert len(str(caught.value).splitlines()) == 1


def test_the_package_is_named_as_the_community_does_and_runs_when_pasted(tmp_path: Path) -> None:
    export = converted(tmp_path, "F16", sliding_window=512)
    package = tmp_path / "my-package"
    package.mkdir()
    backend = LlamaCppBackend()
    checkpoint = Checkpoint("phi-tiny", tmp_path / "model", tmp_path / "model", tiny_config(sliding_window=512))
    backend.package(export, checkpoint, {}, package)
    assert sorted(path.name for path in package.iterdir()) == ["Modelfile", "phi-tiny-F16.gguf"]
    lines = (package / "Modelfile").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "FROM ./phi-tiny-F16.gguf" and "PARAMETER num_ctx 512" in lines
    assert 'PARAMETER stop "<|end|>"' in lines
    code = (
        backend.run_instruction(tmp_path, "my-package", 'Who "is" {he}?')
        .partition("```python\n")[2]
        .partition("```")[0]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_the_runtime_process_imports_its_runtime_alone(export: Path) -> None:
    code = (
        "import io, json, sys\n"
        f"sys.argv = ['runtime', {str(export)!r}]\n"
        "sys.stdin = io.StringIO(json.dumps(dict(task='generate', prompts=[[5, 6]], new_tokens=2, threads=1)))\n"
        "from pipeline.backends.request import serve\n"
        "from pipeline.backends.llamacpp.runtime import answer\n"
        "code = serve(answer)\n"
        "heavy = {'torch', 'transformers', 'onnx', 'gguf', 'mlflow', 'hydra'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
