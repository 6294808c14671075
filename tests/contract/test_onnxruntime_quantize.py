"""ONNX Runtime's quantization is the tools' own, streamed or not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.backends.base import Calibration
from pipeline.backends.onnxruntime.backend import OnnxRuntimeBackend
from pipeline.backends.onnxruntime.contents import contents
from pipeline.backends.onnxruntime.files import DATA
from pipeline.backends.onnxruntime.integer import quantize_dynamic
from pipeline.errors import ConfigError, QualityError, ToolError
from pipeline.packaging.manifest import digests
from pipeline.types import Checkpoint, Family, Recipe
from tests.contract.contract import reference_of
from tests.support.backends import conf_of, order
from tests.support.onnx_files import exported
from tests.support.tiny import tiny_config, write_checkpoint

WEIGHT_ONLY = {"bits": 4, "group_size": 32, "symmetric": True, "accuracy_level": 4}


def weight_only(family: str = "int4", **changes: Any) -> Recipe:
    return Recipe("test", Family(family), "weight-only", "fp32", {**WEIGHT_ONLY, **changes})


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("onnxruntime"))


def build(export: Path, out: Path, recipe: Recipe) -> Any:
    out.mkdir(exist_ok=True)
    return OnnxRuntimeBackend().quantize(export, order(recipe, out))


def initializers(path: Path) -> dict[str, np.ndarray]:
    import onnx
    from onnx.numpy_helper import to_array

    return {tensor.name: to_array(tensor) for tensor in onnx.load(path).graph.initializer}


@pytest.mark.parametrize(("bits", "symmetric"), [(4, True), (4, False), (8, True), (8, False)])
def test_streamed_weights_are_byte_for_byte_what_the_quantizer_writes(
    export: Path, tmp_path: Path, bits: int, symmetric: bool
) -> None:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    build(export, tmp_path / "ours", weight_only(bits=bits, symmetric=symmetric))
    model = onnx.load(export / "model.onnx")
    oracle = MatMulNBitsQuantizer(
        model, bits=bits, block_size=32, is_symmetric=symmetric, accuracy_level=4, op_types_to_quantize=("MatMul",)
    )
    oracle.process()
    theirs = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in oracle.model.model.graph.initializer}
    ours = initializers(tmp_path / "ours/model.onnx")
    assert set(ours) == set(theirs)
    for name, array in theirs.items():
        assert ours[name].dtype == array.dtype and ours[name].tobytes() == array.tobytes(), name


def test_streamed_k_quant_is_byte_for_byte_what_the_quantizer_writes(export: Path, tmp_path: Path) -> None:
    import onnx
    from onnxruntime.quantization import matmul_nbits_quantizer as tool

    build(export, tmp_path / "ours", weight_only(symmetric=False, algorithm="k_quant"))
    model = onnx.load(export / "model.onnx")
    nodes = [node.name for node in model.graph.node if node.op_type == "MatMul"]
    config = tool.KQuantWeightOnlyQuantConfig(customized_weight_config={name: {"bits": 4} for name in nodes})
    oracle = tool.MatMulNBitsQuantizer(
        model, bits=4, block_size=32, is_symmetric=False, accuracy_level=4, algo_config=config
    )
    oracle.process()
    theirs = Counter(
        onnx.numpy_helper.to_array(tensor).tobytes() for tensor in oracle.model.model.graph.initializer if tensor.dims
    )
    ours = Counter(array.tobytes() for array in initializers(tmp_path / "ours/model.onnx").values() if array.shape)
    assert ours == theirs


def test_the_recipe_says_how_many_matrices_have_how_many_bits(export: Path, tmp_path: Path) -> None:
    import onnx

    stats = build(export, tmp_path / "mixed", weight_only(lm_head_bits=8))
    nodes = [node for node in onnx.load(tmp_path / "mixed/model.onnx").graph.node if node.op_type == "MatMulNBits"]
    bits = Counter(onnx.helper.get_node_attr_value(node, "bits") for node in nodes)
    # qkv, o, gate, up and down of one layer at 4 bits; the lm_head at 8
    assert bits == {4: 5, 8: 1}
    assert stats.operators == 6
    assert stats.kept == {"embedding": 32, "lm_head": 8}


def test_an_lm_head_can_stay_as_it_is(export: Path, tmp_path: Path) -> None:
    stats = build(export, tmp_path / "kept", weight_only(lm_head_bits=32))
    assert stats.operators == 5 and stats.kept["lm_head"] == 32


def test_bits_per_weight_follow_from_the_storage(export: Path, tmp_path: Path) -> None:
    config = tiny_config()
    vocab, hidden, inner = config["vocab_size"], config["hidden_size"], config["intermediate_size"]
    head = hidden // config["num_attention_heads"]
    qkv = head * (config["num_attention_heads"] + 2 * config["num_key_value_heads"])
    matrices = hidden * qkv + hidden * hidden + 3 * hidden * inner + hidden * vocab
    plain = vocab * hidden + 3 * hidden
    stats = build(export, tmp_path / "int4", weight_only())
    # 4 bits and one float32 scale for each group of 32
    assert stats.bits_per_weight == pytest.approx((5 * matrices + 32 * plain) / (matrices + plain), abs=1e-3)
    plain_export = contents(export)
    assert plain_export.stored_bits == 32 * plain_export.weights


def test_a_tied_table_is_stored_once_for_both_of_its_uses(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tied", tie_word_embeddings=True)
    config = tiny_config(tie_word_embeddings=True)
    (tmp_path / "export").mkdir()
    backend = OnnxRuntimeBackend()
    form = {"precision": "fp32", "provider": "cpu"}
    backend.convert(Checkpoint("tied", folder, folder, config), form, tmp_path / "export")
    stats = build(tmp_path / "export", tmp_path / "int8", weight_only("int8", bits=8))
    assert stats.operators == 7 and stats.kept == {"embedding": 8, "lm_head": 8}
    lone = write_checkpoint(tmp_path / "untied")
    (tmp_path / "lone").mkdir()
    backend.convert(Checkpoint("untied", lone, lone, tiny_config()), form, tmp_path / "lone")
    build(tmp_path / "lone", tmp_path / "two", weight_only("int8", bits=8, embedding_bits=8))
    table = config["vocab_size"] * config["hidden_size"] * 9 // 8  # a byte for a weight, and a scale for 32
    saved = (tmp_path / "two" / DATA).stat().st_size - (tmp_path / "int8" / DATA).stat().st_size
    assert saved == pytest.approx(table, rel=0.01)
    ids = np.arange(3, 35)[None]
    hidden, matrix = reference_of(folder, ids)
    with backend.open(tmp_path / "int8") as session:
        built = session.logits(ids)[0]
    expected = hidden[0] @ matrix.T
    assert np.sqrt(np.mean((built - expected) ** 2)) < 0.03 * expected.std()


@pytest.mark.parametrize(("group", "message"), [(96, "no power of two"), (512, "does not divide 256 channels")])
def test_a_group_size_that_fits_nothing_is_refused(export: Path, tmp_path: Path, group: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(export, tmp_path / "out", weight_only(group_size=group))


def test_quantizing_nothing_is_an_error(export: Path, tmp_path: Path) -> None:
    build(export, tmp_path / "once", weight_only())
    with pytest.raises(QualityError, match="quantized nothing"):
        build(tmp_path / "once", tmp_path / "twice", weight_only())


def test_gptq_fails_in_one_line_where_nncf_has_none(export: Path, tmp_path: Path) -> None:
    """`plan` leaves such a recipe out; NNCF's own words tell whoever calls the backend directly."""
    recipe = Recipe("test", Family.INT4, "nncf", "fp32", {"mode": "int4_sym", "group_size": 32, "gptq": True})
    (tmp_path / "out").mkdir()
    calibration = Calibration(np.arange(64, dtype=np.int64).reshape(2, 32))
    with pytest.raises(ToolError, match="NNCF failed: .*") as caught:
        OnnxRuntimeBackend().quantize(export, order(recipe, tmp_path / "out", calibration))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}, {"num_key_value_heads": 2}])
@pytest.mark.parametrize("method", ["weight-only", "none", "dynamic"])
def test_a_streamed_build_has_the_bytes_of_a_converted_and_quantized_one(
    tmp_path: Path, method: str, changes: dict[str, Any]
) -> None:
    """A large model is never exported: its tensors go from safetensors to the build one by one."""
    folder = write_checkpoint(tmp_path / "model", **changes)
    checkpoint, form = (
        Checkpoint("tiny", folder, folder, tiny_config(**changes)),
        {"precision": "fp32", "provider": "cpu"},
    )
    settings = {
        "weight-only": {**WEIGHT_ONLY, "lm_head_bits": 8},
        "none": {},
        "dynamic": {"bits": 8, "per_channel": True},
    }
    recipe = Recipe("test", Family.INT4, method, "fp32", settings[method])
    for name in ("export", "streamed"):
        (tmp_path / name).mkdir()
    backend = OnnxRuntimeBackend()
    backend.convert(checkpoint, form, tmp_path / "export")
    stats = build(tmp_path / "export", tmp_path / "built", recipe)
    assert backend.stream(checkpoint, form, order(recipe, tmp_path / "streamed")) == stats
    assert digests(tmp_path / "streamed") == digests(tmp_path / "built")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["built", "export", "model", "streamed"]


def test_sums_of_products_do_not_saturate_on_a_cpu_without_vnni(tmp_path: Path) -> None:
    """Two products of unsigned and signed bytes are summed in 16 bits there: 2 · 255 · 127 is more than they hold."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    puts = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in ("x", "y")]
    weights = numpy_helper.from_array(np.ones((64, 64), "f4"), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "sums", puts[:1], puts[1:], [weights])
    (tmp_path / "export").mkdir()
    opset = helper.make_opsetid("", 21)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), tmp_path / "export/model.onnx")
    recipe = conf_of("onnxruntime")["recipes"]["int8"]["dynamic"]
    settings = {key: value for key, value in recipe.items() if key not in ("method", "form")}
    (tmp_path / "built").mkdir()
    quantize_dynamic(
        tmp_path / "export", order(Recipe("dynamic", Family.INT8, "dynamic", "fp32", settings), tmp_path / "built")
    )
    session = onnxruntime.InferenceSession(tmp_path / "built/model.onnx", providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.ones((1, 64), "f4")})[0] == pytest.approx(64, rel=0.02)
