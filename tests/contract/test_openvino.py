"""OpenVINO keeps the contract; its IR is the checkpoint's, and runs as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.backends.openvino.backend import OpenVinoBackend
from pipeline.backends.process import ask_runtime
from pipeline.backends.request import RuntimeRequest
from pipeline.errors import ArtifactError, CheckpointError
from pipeline.metrics.decode import check_decode
from pipeline.model.tokenizer import PROBES, encode, load_tokenizer
from pipeline.types import Checkpoint
from tests.contract.contract import BackendContract, Workshop, reference_of
from tests.support.openvino_files import constants, converted
from tests.support.tiny import ROOT, tiny_config, write_checkpoint


class TestOpenVino(BackendContract):
    name = "openvino"

    def test_users_get_what_the_device_does_by_default(self, workshop: Workshop) -> None:
        build, _ = workshop.build(workshop.recipe("int4", "default"))
        with workshop.backend.open(build) as accurate, workshop.backend.open(build, default_mode=True) as default:
            assert accurate.settings["kv_cache_precision"] == "float32"
            assert accurate.settings["dynamic_quantization_group_size"] == "0"
            assert default.settings["dynamic_quantization_group_size"] != "0"
            ids = np.arange(3, 35)[None]
            assert np.abs(accurate.logits(ids) - default.logits(ids)).max() < 1


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a one-layer random model."""
    return converted(tmp_path_factory.mktemp("openvino"))


def test_tied_embeddings_are_stored_once(tmp_path: Path) -> None:
    export = converted(tmp_path, tie_word_embeddings=True)
    assert constants(export)["f32"] == 5
    ids = np.arange(3, 35)[None]
    hidden, matrix = reference_of(tmp_path / "model", ids)
    with OpenVinoBackend().open(export) as session:
        assert np.abs(session.logits(ids)[0] - hidden[0] @ matrix.T).max() < 1e-3


def test_weights_of_16_bits_stay_16_bits(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = write_checkpoint(tmp_path / "model", dtype="bfloat16")
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "export").mkdir()
    checkpoint = Checkpoint("tiny", folder, folder, tiny_config(dtype="bfloat16"))
    OpenVinoBackend().convert(checkpoint, {"precision": "fp32"}, tmp_path / "export")
    assert constants(tmp_path / "export") == {"bf16": 6}
    ids = np.arange(3, 35)[None]
    hidden, matrix = reference_of(folder, ids)
    with OpenVinoBackend().open(tmp_path / "export") as session:
        assert np.abs(session.logits(ids)[0] - hidden[0] @ matrix.T).max() < 1e-3


def test_a_sliding_window_is_kept_in_one_pass_and_in_generation(tmp_path: Path) -> None:
    export = converted(tmp_path, sliding_window=16)
    ids = np.random.default_rng(3).integers(3, 2000, (1, 64))
    hidden, matrix = reference_of(tmp_path / "model", ids)
    answer = ask_runtime("openvino", export, RuntimeRequest("generate", [ids[0, :40].tolist()], 16)).value["tokens"]
    with OpenVinoBackend().open(export) as session:
        assert np.abs(session.logits(ids)[0] - hidden[0] @ matrix.T).max() < 1e-3
        assert check_decode([ids[0, :40].tolist()], answer, session.logits).agreement == 1


def test_its_tokenizer_and_detokenizer_are_the_checkpoints(export: Path) -> None:
    import openvino_genai

    theirs, ours = openvino_genai.Tokenizer(str(export)), load_tokenizer(export)
    chat = "<|user|>\nWho are you?<|end|>\n<|assistant|>\n"
    for text in (*PROBES, chat):
        assert theirs.encode(text).input_ids.data[0].tolist() == encode(ours, text)
    assert theirs.decode(encode(ours, PROBES[0])) == PROBES[0]
    assert theirs.apply_chat_template([{"role": "user", "content": "Who are you?"}], True) == chat


@pytest.mark.parametrize("damage", ["cut", "missing", "no xml"])
def test_a_damaged_ir_is_one_clear_line(export: Path, tmp_path: Path, damage: str) -> None:
    import shutil

    broken = Path(shutil.copytree(export, tmp_path / "broken"))
    weights = broken / "openvino_model.bin"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif damage == "missing":
        weights.unlink()
    else:
        (broken / "openvino_model.xml").write_text("<net", encoding="utf-8")
    with pytest.raises(ArtifactError) as caught, OpenVinoBackend().open(broken):
        pass
    assert len(str(caught.value).splitlines()) == 1 and str(broken) in str(caught.value)


def test_weights_that_transformers_cannot_load_are_one_readable_line(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"broken")
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="transformers cannot load it: .*header too small") as caught:
        checkpoint = Checkpoint("tiny", folder, folder, tiny_config())
        OpenVinoBackend().convert(checkpoint, {"precision": "fp32"}, tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1


def test_the_runtime_process_imports_its_runtime_alone(export: Path) -> None:
    code = (
        "import io, json, sys\n"
        f"sys.argv = ['runtime', {str(export)!r}]\n"
        "sys.stdin = io.StringIO(json.dumps(dict(task='generate', prompts=[[5, 6]], new_tokens=2, threads=1)))\n"
        "from pipeline.backends.request import serve\n"
        "from pipeline.backends.openvino.runtime import answer\n"
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
    backend = OpenVinoBackend()
    backend.package(export, Checkpoint("tiny", export, export, tiny_config()), {}, package)
    code = (
        backend.run_instruction(tmp_path, "my-package", 'Who "is" {he}?')
        .partition("```python\n")[2]
        .partition("```")[0]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, encoding="utf-8")
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_a_conversion_reports_nothing_to_anybody(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    (tmp_path / "home").mkdir()
    (tmp_path / "out").mkdir()
    code = (
        "import json, sys; from pathlib import Path\n"
        "from pipeline.harness.run import setup; setup()\n"
        "from pipeline.backends.openvino.backend import OpenVinoBackend\n"
        "from pipeline.types import Checkpoint\n"
        f"folder = Path({str(folder)!r}); config = json.loads((folder / 'config.json').read_text())\n"
        f"out = Path({str(tmp_path / 'out')!r})\n"
        "OpenVinoBackend().convert(Checkpoint('t', folder, folder, config), dict(precision='fp32'), out)\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "assert telemetry_utils.tm.__name__.endswith('telemetry_stub')\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    assert not [path for path in (tmp_path / "home").rglob("*") if "intel" in str(path)]
