"""MLX keeps the contract; its models are transformers' ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.backends.base import Calibration
from pipeline.backends.mlx.backend import MlxBackend
from pipeline.errors import ArtifactError, ConfigError, ToolError
from pipeline.matrix.recipes import parse_recipe
from pipeline.model.rope import with_both_spellings
from pipeline.types import Checkpoint, Family, Recipe
from tests.contract.contract import BackendContract, reference_of
from tests.support.backends import conf_of, order
from tests.support.tiny import ROOT, tiny_config, write_checkpoint


class TestMlx(BackendContract):
    name = "mlx"
    kl_bound = {**BackendContract.kl_bound, "int6": 2e-2, "int5": 5e-2, "int3": 1.0}


def converted(root: Path, factors: str = "short", **changes: Any) -> Path:
    """The canonical folder, as fetch makes it, in MLX's form."""
    folder = write_checkpoint(root / "model", **changes)
    config = with_both_spellings(tiny_config(**changes))
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    out = root / "export"
    out.mkdir()
    MlxBackend().convert(Checkpoint("tiny", folder, folder, config), {"dtype": "float32", "factors": factors}, out)
    return out


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("mlx"))


def build(export: Path, out: Path, calibration: Calibration | None = None, **settings: Any) -> Any:
    out.mkdir(exist_ok=True)
    recipe = Recipe("test", Family.INT4, "mlx", "fp32", settings)
    return MlxBackend().quantize(export, order(recipe, out, calibration))


def apart(export: Path, ids: np.ndarray) -> float:
    """The largest difference between MLX's logits and transformers'."""
    hidden, matrix = reference_of(export.parent / "model", ids)
    with MlxBackend().open(export) as session:
        return float(np.abs(session.logits(ids)[0] - hidden[0] @ matrix.T).max())


def test_another_rope_base_is_read(tmp_path: Path) -> None:
    assert apart(converted(tmp_path, rope_theta=50000.0), np.arange(3, 67)[None]) < 1e-3


@pytest.mark.parametrize(("length", "factors"), [(48, "short"), (128, "long")], ids=["within", "beyond"])
def test_longrope_agrees_on_the_side_that_the_form_is_for(tmp_path: Path, length: int, factors: str) -> None:
    lists = {"short_factor": [1 + i / 50 for i in range(16)], "long_factor": [1.5 + i for i in range(16)]}
    scaling = {"type": "longrope", "rope_type": "longrope", **lists, "original_max_position_embeddings": 64}
    changes = {"max_position_embeddings": 512, "original_max_position_embeddings": 64, "rope_scaling": scaling}
    export = converted(tmp_path, factors, **changes)
    assert apart(export, np.random.default_rng(7).integers(3, 2000, (1, length))) < 2e-3


def test_tied_embeddings_are_stored_once(tmp_path: Path) -> None:
    export = converted(tmp_path, tie_word_embeddings=True)
    stats = build(export, tmp_path / "out", bits=4, group_size=64)
    assert stats.kept == {"embedding": 4, "lm_head": 4} and stats.operators == 5
    assert apart(export, np.arange(3, 35)[None]) < 1e-3


def test_a_tiny_phi_moe_agrees_with_transformers(tmp_path: Path) -> None:
    import torch
    from transformers import PhimoeConfig, PhimoeForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2}
    config = PhimoeConfig(**sizes, **heads, max_position_embeddings=256, attention_bias=True, lm_head_bias=True)
    model = PhimoeForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    model.save_pretrained(tmp_path / "model")
    written = with_both_spellings(json.loads((tmp_path / "model/config.json").read_text(encoding="utf-8")))
    (tmp_path / "model/config.json").write_text(json.dumps(written), encoding="utf-8")
    (tmp_path / "export").mkdir()
    checkpoint = Checkpoint("moe", tmp_path / "model", tmp_path / "model", written)
    MlxBackend().convert(checkpoint, {"dtype": "float32"}, tmp_path / "export")
    ids = np.random.default_rng(3).integers(3, 500, (1, 48))
    with torch.inference_mode():
        expected = model(torch.from_numpy(ids)).logits.numpy()
    with MlxBackend().open(tmp_path / "export") as session:
        assert np.abs(session.logits(ids) - expected).max() < 1e-3 * expected.std()
    stats = build(tmp_path / "export", tmp_path / "out", bits=4, group_size=32)
    assert stats.operators > 0 and stats.bits_per_weight < 8


@pytest.mark.parametrize(
    ("settings", "embedding", "lm_head", "bits"),
    [
        ({"bits": 4, "group_size": 64}, 4, 4, 4 + 64 / 64),
        ({"bits": 8, "group_size": 32}, 8, 8, 8 + 64 / 32),
        ({"mixed": "mixed_4_6", "group_size": 64}, 4, 6, None),
        ({"mode": "mxfp4"}, 4, 4, 4 + 8 / 32),
    ],
)
def test_the_recipe_says_how_many_bits_a_weight_has(
    export: Path, tmp_path: Path, settings: dict[str, Any], embedding: int, lm_head: int, bits: float | None
) -> None:
    stats = build(export, tmp_path / "out", **settings)
    assert stats.operators == 6 and stats.kept == {"embedding": embedding, "lm_head": lm_head}
    if bits:  # scale and bias of 32 bits per group (mxfp4: a scale of 8), and three vectors in fp32
        assert stats.bits_per_weight == pytest.approx(bits, abs=0.03)


def test_the_embedding_under_gptq_has_bits_of_its_own(export: Path, tmp_path: Path) -> None:
    ids = Calibration(np.random.default_rng(0).integers(3, 2000, (4, 32)))
    stats = build(export, tmp_path / "out", ids, bits=4, group_size=64, gptq=True, embedding_bits=8)
    assert stats.kept == {"embedding": 8, "lm_head": 4}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"bits": 7, "group_size": 64}, "'bits: 7' is none of"),
        ({"bits": 4, "group_size": 48}, "'group_size: 48' is none of 32, 64, 128"),
        ({"mode": "nvfp4", "group_size": 32}, "mode nvfp4 takes no 'group_size'"),
        ({"mode": "nf4"}, "'mode: nf4' is none of affine"),
        ({"bits": 3, "group_size": 64, "gptq": True}, "gptq true takes bits 2, 4, 8, not 3"),
    ],
)
def test_what_mlx_has_not_is_refused_while_planning(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_recipe("test", Family.INT4, {"method": "mlx", "form": "stored", **raw}, "here", conf_of("mlx")["methods"])


def test_a_recipe_that_calibrates_needs_data(export: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs calibration data"):
        build(export, tmp_path / "out", bits=4, group_size=64, gptq=True)


def test_an_output_that_holds_a_model_is_refused(export: Path, tmp_path: Path) -> None:
    build(export, tmp_path / "out", bits=4, group_size=64)
    with pytest.raises(ToolError, match="holds a model already"):
        build(export, tmp_path / "out", bits=4, group_size=64)


def test_an_mlx_without_a_back_end_is_one_clear_line() -> None:
    code = (
        "import sys\n"
        "sys.modules['mlx.core'] = None\n"
        "from pipeline.backends.mlx.files import import_mlx\n"
        "from pipeline.errors import ToolError\n"
        "try:\n    import_mlx()\n"
        "except ToolError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "mlx cannot start here" in done.stdout and "mlx-cpu" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1


def test_a_damaged_folder_is_one_clear_line(export: Path, tmp_path: Path) -> None:
    import shutil

    broken = Path(shutil.copytree(export, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes((export / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(ArtifactError, match="mlx-lm cannot load it") as caught, MlxBackend().open(broken):
        pass
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_in_the_package_varies_with_a_library(export: Path, tmp_path: Path) -> None:
    """The tokenizer is the checkpoint's, byte for byte, and mlx-lm's model card is left out."""
    (tmp_path / "package").mkdir()
    MlxBackend().package(export, Checkpoint("tiny", export, export, tiny_config()), {}, tmp_path / "package")
    names = {path.name for path in (tmp_path / "package").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert "README.md" not in names
    source = ROOT / "models" / "phi-tiny"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "package" / name).read_bytes() == (source / name).read_bytes()


def test_mlx_lms_own_command_runs_the_package(export: Path, tmp_path: Path) -> None:
    package = tmp_path / "my-package"
    package.mkdir()
    MlxBackend().package(export, Checkpoint("tiny", export, export, tiny_config()), {}, package)
    command = ["-m", "mlx_lm", "generate", "--model", "my-package", "--prompt", "Hello", "--max-tokens", "4"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, encoding="utf-8")
    assert done.returncode == 0 and "Generation: 4 tokens" in done.stdout, done.stderr


def test_the_python_of_the_run_instruction_works_when_pasted(export: Path, tmp_path: Path) -> None:
    package = tmp_path / "my-package"
    package.mkdir()
    backend = MlxBackend()
    backend.package(export, Checkpoint("tiny", export, export, tiny_config()), {}, package)
    code = (
        backend.run_instruction(tmp_path, "my-package", 'Who "is" {he}?')
        .partition("```python\n")[2]
        .partition("```")[0]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_distillation_moves_the_scales(tmp_path: Path) -> None:
    """DWQ trains: at a rate that bf16 rounds away, its file would be the plain quantization's."""
    folder = write_checkpoint(tmp_path / "model", dtype="bfloat16")
    form = {"dtype": "bfloat16", "factors": "short"}
    (tmp_path / "export").mkdir()
    MlxBackend().convert(Checkpoint("tiny", folder, folder, tiny_config()), form, tmp_path / "export")
    windows = Calibration(np.random.default_rng(0).integers(3, 2000, (16, 32)))
    build(tmp_path / "export", tmp_path / "plain", bits=4, group_size=64)
    build(tmp_path / "export", tmp_path / "trained", windows, bits=4, group_size=64, dwq=True)
    plain, trained = (tmp_path / name / "model.safetensors" for name in ("plain", "trained"))
    assert plain.stat().st_size == trained.stat().st_size and plain.read_bytes() != trained.read_bytes()


@pytest.mark.parametrize("mode", ["nvfp4", "mxfp4", "mxfp8"])
def test_a_matrix_packed_by_slabs_of_rows_has_the_bytes_of_one_packed_whole(mode: str) -> None:
    import mlx.core as mx

    from pipeline.backends.mlx import slabs

    matrix = mx.random.normal((3 * slabs.WEIGHTS // 512 + 7, 512), key=mx.random.key(0)).astype(mx.bfloat16)
    whole = mx.quantize(matrix, mode=mode)
    with slabs.in_slabs():
        parts = mx.quantize(matrix, mode=mode)
    assert len(parts) == len(whole) and all(mx.array_equal(a, b) for a, b in zip(parts, whole, strict=True))
