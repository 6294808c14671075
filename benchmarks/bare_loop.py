"""One window through each runtime's own API: what a first script would do, in the accuracy mode of evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.harness.host import threads

Window = np.ndarray[Any, Any]
Loop = Callable[[Window], object]


def bare_loop(backend: str, build: Path) -> Loop:
    """A function of one window's token ids, int64 [length]."""
    made = {"onnxruntime": _onnxruntime, "openvino": _openvino, "llamacpp": _llamacpp, "mlx": _mlx}
    return made[backend](build)


def _llamacpp(build: Path) -> Loop:
    from llama_cpp import Llama

    (file,) = build.glob("*.gguf")
    model = Llama(str(file), n_ctx=1024, n_batch=1024, logits_all=True, verbose=False, n_threads_batch=threads())

    def evaluated(window: Window) -> object:
        model.reset()
        return model.eval(window.tolist())

    return evaluated


def _onnxruntime(build: Path) -> Loop:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    session = onnxruntime.InferenceSession(str(build / "model.onnx"), options, providers=["CPUExecutionProvider"])
    size = json.loads((build / "genai_config.json").read_text(encoding="utf-8"))["model"]["decoder"]["head_size"]
    empty = {
        item.name: np.zeros((1, item.shape[1], 0, size), np.float32)
        for item in session.get_inputs()
        if item.name.startswith("past")
    }
    return lambda window: session.run(
        ["logits"], {"input_ids": window[None], "attention_mask": np.ones((1, len(window)), np.int64), **empty}
    )


def _openvino(build: Path) -> Loop:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    request = openvino.Core().compile_model(build / "openvino_model.xml", "CPU", settings).create_infer_request()

    def evaluated(window: Window) -> object:
        request.reset_state()
        inputs = {"input_ids": window[None], "attention_mask": np.ones((1, len(window)), np.int64)}
        inputs |= {"position_ids": np.arange(len(window))[None], "beam_idx": np.zeros(1, np.int32)}
        return request.infer(inputs)["logits"]

    return evaluated


def _mlx(build: Path) -> Loop:
    """Unpacked and in fp32: packed weights are multiplied many times slower on a CPU."""
    import mlx.core as mx
    from mlx_lm.utils import dequantize_model, load_model

    model, _ = load_model(build)
    model.set_dtype(mx.float32)
    model = dequantize_model(model)
    return lambda window: np.array(model(mx.array(window[None])))
