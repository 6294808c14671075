"""Graphs of fixed shapes → QDQ form for the Hexagon NPU, by ONNX Runtime's own configuration for QNN."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.backends.base import Calibration, Order
from pipeline.backends.onnxruntime.calibration import reader
from pipeline.backends.onnxruntime.files import FACTS, PROMPT, TOKEN
from pipeline.backends.onnxruntime.fixed.session import FixedDecoder
from pipeline.backends.onnxruntime.fixed.weights import save_sharing_weights
from pipeline.errors import ConfigError, ToolError, first_line
from pipeline.files import copy_file
from pipeline.harness.host import threads


def quantize(export: Path, order: Order) -> None:
    """Weights of `bits` symmetric per channel, everything else of `activation_bits`, ranges from the calibration split.

    `lm_head_bits` is the head's own. Ranges are taken once, on the prompt graph with a filling cache, for both graphs.
    """
    import onnx
    from onnxruntime import quantization

    settings, calibration, out = order.recipe.settings, order.calibration, order.out
    if calibration is None:
        raise ConfigError("method qdq needs calibration data", hint="set evaluate.calibration")
    copy_file(export / FACTS, out / FACTS)
    wide = settings.get("activation_bits", 16) == 16
    activation = quantization.QuantType.QUInt16 if wide else quantization.QuantType.QUInt8
    with tempfile.TemporaryDirectory(prefix="phi-deploy-") as temporary:
        ranges = Path(temporary) / "ranges.json"
        for name in (PROMPT, TOKEN):
            config = _configuration(export / name, settings, activation)
            target = Path(temporary) / name
            try:
                quantization.quantize_static(
                    export / name,
                    target,
                    _reader(export, calibration) if name == PROMPT else None,
                    per_channel=True,
                    activation_type=activation,
                    weight_type=config.weight_type,
                    op_types_to_quantize=config.op_types_to_quantize,
                    calibration_cache_path=ranges,
                    use_external_data_format=True,
                    extra_options=config.extra_options,
                )
            except Exception as error:  # the quantizer raises its own and Python's types
                raise ToolError(
                    f"ONNX Runtime's quantizer failed: {first_line(error)}", where=str(export / name)
                ) from error
            save_sharing_weights(onnx.load(target), out / name, first=name == PROMPT)


def _configuration(path: Path, settings: Mapping[str, Any], activation: Any) -> Any:
    """ONNX Runtime's settings for QNN, with types for the weights: the tables and norms stay wide."""
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    types = {4: QuantType.QInt4, 8: QuantType.QInt8}
    model = onnx.load(path, load_external_data=False)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    matrices = {node.input[1]: node for node in model.graph.node if node.op_type == "Conv"}
    overrides: dict[str, list[dict[str, Any]]] = {
        name: [{"quant_type": activation}]
        for name, tensor in tensors.items()
        if name not in matrices and tensor.data_type == onnx.TensorProto.FLOAT
    }
    for name in matrices:
        bits = settings.get("lm_head_bits", settings["bits"]) if "lm_head" in name else settings["bits"]
        overrides[name] = [{"quant_type": types[bits], "axis": 0, "symmetric": True}]
    return get_qnn_qdq_config(
        model,
        None,
        activation_type=activation,
        weight_type=types[settings["bits"]],
        per_channel=True,
        weight_symmetric=True,
        init_overrides=overrides,
        add_qtype_converts=False,
    )


def _reader(export: Path, calibration: Calibration) -> Any:
    decoder = FixedDecoder(export, threads())

    def feeds() -> Iterator[dict[str, Any]]:
        for window in calibration.ids:
            decoder.reset()
            ids = window[: decoder.context]
            size = min(decoder.chunk, max(1, len(ids) // 2))  # a second piece sees a cache that is not empty
            for at in range(0, len(ids) - size + 1, size):
                yield from (feed for feed, _ in decoder.steps(ids[at : at + size]))

    return reader(feeds())
