"""What a target's device takes is what its package holds: read from the finished graphs of every provider family."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto

from pipeline.backends.base import Calibration
from pipeline.backends.onnxruntime.backend import OnnxRuntimeBackend
from pipeline.backends.onnxruntime.fixed.session import FixedDecoder
from pipeline.backends.process import ask_runtime
from pipeline.backends.request import RuntimeRequest
from pipeline.errors import DataError, PipelineError
from pipeline.matrix.recipes import parse_recipe
from pipeline.types import Checkpoint, Family
from tests.support.backends import conf_of, order
from tests.support.tiny import ROOT, tiny_config, write_checkpoint

# https://onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html, "Supported ONNX operators"
QNN_TAKES = {
    *("Add", "Concat", "Conv", "DequantizeLinear", "Div", "Expand", "Gather", "MatMul", "Mul", "Neg", "Pow"),
    *("QuantizeLinear", "ReduceMean", "Reshape", "Sigmoid", "Slice", "Softmax", "Sqrt", "Squeeze", "Sub", "Transpose"),
    "Unsqueeze",
}
CONF = conf_of("onnxruntime")
TARGETS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))[path.stem]
    for path in sorted((ROOT / "conf/target").glob("*.yaml"))
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    changes = {"num_attention_heads": 8, "num_key_value_heads": 4}
    folder = write_checkpoint(tmp_path_factory.mktemp("targets") / "model", **changes)
    return Checkpoint("tiny", folder, folder, tiny_config(**changes))


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory, checkpoint: Checkpoint) -> Iterator[Any]:
    root, made = tmp_path_factory.mktemp("exports"), {}

    def export(form: str) -> tuple[Path, Checkpoint]:
        if form not in made:
            made[form] = root / form
            made[form].mkdir()
            OnnxRuntimeBackend().convert(checkpoint, CONF["forms"][form], made[form])
        return made[form], checkpoint

    yield export


def build(exports: Any, out: Path, target: str, family: str) -> Path:
    """The package of a target's own recipe for a family."""
    conf = TARGETS[target]
    name = conf.get("recipes", {}).get("onnxruntime", {}).get(family, "default")
    recipe = parse_recipe(name, Family(family), CONF["recipes"][family][name], target, CONF["methods"])
    changed = CONF["providers"][conf["backends"]["onnxruntime"]]
    made, package = out / "build", out / "package"
    made.mkdir(parents=True)
    package.mkdir()
    windows = Calibration(np.random.default_rng(0).integers(3, 2000, (4, 64)))
    form = changed.get(recipe.form, recipe.form)
    export, checkpoint = exports(form)
    OnnxRuntimeBackend().quantize(export, order(recipe, made, windows, checkpoint))
    options = conf.get("package", {}).get("onnxruntime", {})
    OnnxRuntimeBackend().package(made, Checkpoint("tiny", made, made, {}), options, package)
    return package


# ONNX Runtime has GatherBlockQuantized for CPU, CUDA (microsoft/onnxruntime#25575) and WebGPU (#25413)
@pytest.mark.parametrize(("target", "packed"), [("cpu", 1), ("cuda", 1), ("webgpu", 1), ("directml", 0)])
def test_the_embedding_is_packed_where_the_provider_can_look_it_up(
    exports: Any, tmp_path: Path, target: str, packed: int
) -> None:
    model = onnx.load(build(exports, tmp_path, target, "int4") / "model.onnx", load_external_data=False)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["GatherBlockQuantized"] == packed and kinds["MatMulNBits"] >= 5


@pytest.mark.parametrize("target", ["cuda", "directml", "webgpu"])
def test_a_gpu_gets_fp16_inputs_int4_weights_and_its_provider(exports: Any, tmp_path: Path, target: str) -> None:
    package = build(exports, tmp_path, target, "int4")
    model = onnx.load(package / "model.onnx", load_external_data=False)
    floats = {entry.type.tensor_type.elem_type for entry in (*model.graph.input, *model.graph.output)}
    assert floats <= {TensorProto.FLOAT16, TensorProto.INT64} and TensorProto.FLOAT16 in floats
    packed = [node for node in model.graph.node if node.op_type == "MatMulNBits"]
    levels = [attribute.i for node in packed for attribute in node.attribute if attribute.name == "accuracy_level"]
    assert len(packed) >= 5 and not any(levels), "a GPU computes in fp16"
    config = json.loads((package / "genai_config.json").read_text(encoding="utf-8"))
    options = config["model"]["decoder"]["session_options"]["provider_options"]
    assert [name for entry in options for name in entry] == [TARGETS[target]["backends"]["onnxruntime"]]


def test_queries_keys_and_values_apart_are_what_they_are_together(exports: Any, tmp_path: Path) -> None:
    """DirectML's graph has three matrices where CUDA's has one; both are quantized from the checkpoint's."""
    ids, found = np.random.default_rng(1).integers(3, 2000, (1, 24)), []
    for target in ("cuda", "directml"):
        build(exports, tmp_path / target, target, "int4")
        with OnnxRuntimeBackend().open(tmp_path / target / "build") as session:
            found.append(session.logits(ids))
    assert np.abs(found[0] - found[1]).max() < 0.1 * found[0].std()  # CUDA's embedding has 8 bits, DirectML's 16


@pytest.mark.parametrize("target", ["cuda", "directml", "webgpu", "qnn-htp"])
def test_a_package_for_another_device_generates_here_all_the_same(exports: Any, tmp_path: Path, target: str) -> None:
    package = build(exports, tmp_path, target, "int4")
    answer = ask_runtime("onnxruntime", package, RuntimeRequest("generate", [[5, 6, 7]], 4))
    assert len(answer.value["tokens"][0]) == 4


def test_what_the_builder_writes_alike_is_one_build_and_what_differs_is_another(
    exports: Any, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    OnnxRuntimeBackend().convert(checkpoint, {"precision": "fp16", "provider": "webgpu"}, tmp_path)
    cuda, dml, webgpu = (
        {name: (folder / name).read_bytes() for name in ("model.onnx", "model.onnx.data")}
        for folder in (exports("fp16")[0], exports("dml")[0], tmp_path)
    )
    assert CONF["providers"]["webgpu"] == {"fp32": "fp16"} and webgpu == cuda
    assert dml["model.onnx"] != cuda["model.onnx"]


@pytest.mark.parametrize(("family", "weights"), [("int8", TensorProto.INT8), ("int4", TensorProto.INT4)])
def test_a_snapdragon_gets_fixed_shapes_standard_operators_and_qdq(
    exports: Any, tmp_path: Path, family: str, weights: int
) -> None:
    package = build(exports, tmp_path, "qnn-htp", family)
    facts = json.loads((package / "static.json").read_text(encoding="utf-8"))
    assert facts["provider_options"] == TARGETS["qnn-htp"]["package"]["onnxruntime"]["provider_options"]
    for name in ("prompt.onnx", "token.onnx"):
        model = onnx.shape_inference.infer_shapes(onnx.load(package / name))
        graph = model.graph
        assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
        assert {node.op_type for node in graph.node} <= QNN_TAKES
        for value in (*graph.input, *graph.output, *graph.value_info):
            assert all(size.dim_value > 0 for size in value.type.tensor_type.shape.dim), value.name
        tensors = {tensor.name: tensor for tensor in graph.initializer}
        producer = {output: node for node in graph.node for output in node.output}
        for node in graph.node:
            if node.op_type == "QuantizeLinear":
                assert tensors[node.input[2]].data_type == TensorProto.UINT16
            if node.op_type != "Conv":
                continue
            assert producer[node.input[0]].op_type == "DequantizeLinear"
            stored = producer[node.input[1]]
            kind = TensorProto.INT8 if "lm_head" in node.input[1] else weights
            matrix, scale = tensors[stored.input[0]], tensors[stored.input[1]]
            assert matrix.data_type == kind and list(scale.dims) == [matrix.dims[0]], "symmetric, per output channel"
    assert len(list(package.glob("*.data"))) == 1, "both graphs share their weights"


def test_both_graphs_of_a_static_model_continue_each_other(exports: Any) -> None:
    decoder = FixedDecoder(exports("qnn")[0], 1)
    ids = np.random.default_rng(2).integers(3, 2000, 300)
    whole = decoder.logits(ids[None])[0]
    decoder.reset()
    pieces = [decoder.append(ids[:130]), *(decoder.append(ids[at : at + 1]) for at in range(130, 140))]
    pieces.append(decoder.append(ids[140:]))
    assert np.abs(np.concatenate(pieces) - whole).max() < 1e-3
    with pytest.raises(DataError, match="tokens, the package holds 1024.*forms.qnn.context"):
        decoder.logits(np.zeros((1, 1025), np.int64))


def test_a_static_package_holds_its_whole_context(exports: Any) -> None:
    decoder = FixedDecoder(exports("qnn")[0], 2)
    assert np.isfinite(decoder.logits(np.full((1, decoder.context - 60), 5))).all()
    assert len(decoder.append(np.full(60, 7))) == 60


def test_speed_of_a_device_that_is_not_here_is_refused(exports: Any, tmp_path: Path) -> None:
    for target in ("qnn-htp", "cuda"):
        package = build(exports, tmp_path / target, target, "int4")
        request = RuntimeRequest("measure", [[5, 6, 7]], 2, device=target)
        with pytest.raises(PipelineError, match="QNNExecutionProvider|Cuda"):
            ask_runtime("onnxruntime", package, request)


def test_an_intel_npu_gets_symmetric_weights_by_channel(tmp_path: Path, checkpoint: Checkpoint) -> None:
    import openvino

    from pipeline.backends.registry import load_backend

    conf = conf_of("openvino")
    backend = load_backend("openvino")
    export, out = tmp_path / "export", tmp_path / "out"
    export.mkdir()
    out.mkdir()
    backend.convert(checkpoint, conf["forms"]["fp32"], export)
    recipe = parse_recipe("npu", Family.INT4, conf["recipes"]["int4"]["npu"], "npu", conf["methods"])
    backend.quantize(export, order(recipe, out))
    model = openvino.Core().read_model(out / "openvino_model.xml")
    kinds: Counter[str] = Counter()
    for node in model.get_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() == "i4":
            kinds["matrices"] += 1
            convert = next(iter(node.output(0).get_target_inputs())).get_node()
            scale = next(iter(convert.output(0).get_target_inputs())).get_node()
            assert scale.get_type_name() == "Multiply", "no zero point: symmetric"
            rows = node.get_output_shape(0)[0]
            factors = scale.input_value(1).get_node()
            while factors.get_type_name() == "Convert":
                factors = factors.input_value(0).get_node()
            assert list(factors.get_output_shape(0)) == [rows, 1], "one scale per output channel"
    assert kinds["matrices"] == 4


def test_every_target_is_served_and_says_how_it_is_run() -> None:
    from pipeline.harness.host import DEVICES

    for name, conf in TARGETS.items():
        assert conf["backends"], name
        device = conf.get("device", "")
        assert not device or device in DEVICES, name
        if device in ("cuda", "directml", "webgpu", "intel-gpu", "intel-npu", "qnn-htp", "android-arm64", "ios"):
            assert conf["run"], name
