"""What stages take on the machine of docs/performance.md, as it was measured. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CORES = 2  # of the machine that was measured
CHARACTERS = 4  # of English a token
GENERATED = 24  # tokens for a prompt, evaluate.decode_tokens by default
STAGE_S = 5.0  # a stage's start, its imports and DVC's part
LAYERED_ABOVE = 2e9  # bytes: above, the reference is computed layer by layer
REFERENCE_RATE = 4.2e10  # parameters x tokens a second, transformers in fp32
READING = 5.2  # seconds a GB of checkpoint: read, cast to fp32
LAYER_READING = 0.6  # the same, into memory that is there: a layer at a time, for each token that is gone on with
ANSWER = 48  # tokens of an answer to a chat task, about; the longest twice that
CHATS = 8  # prompts that evaluate goes on with, beside those of the decode check
PROCESS = 0.4e9  # bytes of a stage without a model
WHOLE_FILE = ("dynamic", "static", "nncf")  # methods of ONNX Runtime that hold the model
SENSITIVITY_PASSES = {"fisher": 3}  # forward passes that it is worth; by insertion half a pass for each matrix
MATRICES = 4  # of a layer
VARIANT_S = 30.0  # seconds a format and a GB of checkpoint: 384 rows of each matrix, and its factor
SEEING = 4  # bytes a parameter of what sees or hears: computed in fp32, and traced in it
TRACED = {"onnxruntime": 6, "openvino": 4}  # while it is made without its weights, measured at full size
LARGEST = {"onnxruntime": 2, "openvino": 4}  # an lm_head in fp32, as often as it is held while it is packed
LAYER_HELD = 0.5  # bytes a parameter: a layer in fp32, its moments, the lm_head
TRAINED_HELD, TRAINED, WINDOW = 1.5, 5, 512  # scales: bytes held a byte of checkpoint; forward passes a step is worth


@dataclass(frozen=True)
class Rates:
    """A backend's: seconds a GB of checkpoint by family, bytes held a byte of checkpoint; what its runtime does.

    scored: parameters x tokens a second, in one mode; modes: how often evaluate scores; read: bytes of weights a
    second while decoding; held: bytes of memory a byte of build.
    """

    quantize_s: Mapping[str, float]
    quantize_held: float
    scored: float
    modes: int
    read: float
    held: float


# recipes that read data: bytes held a byte of checkpoint, seconds a GB of it. Measured: OpenVINO's GPTQ
CALIBRATED = {"openvino": (2.7, 545.0), "onnxruntime": (2.7, 545.0), "mlx": (1.1, 545.0)}
FORWARD = {"llamacpp": 0.3}  # what an importance matrix holds; its time is that of scoring the calibration text
BACKENDS = {
    "onnxruntime": Rates({"int4": 16.5, "int8": 18.3, "fp16": 15.7}, 0.16, 6.5e10, 1, 1.7e10, 1.24),
    "openvino": Rates({"int4": 15.7, "int8": 11.4, "fp16": 7.4}, 0.6, 5.2e10, 2, 9e9, 1.22),
    "llamacpp": Rates({"int4": 58.7, "int8": 4.5, "fp16": 4.7}, 0.04, 5.8e10, 2, 1.2e10, 0.95),
    "mlx": Rates({"int4": 46.6, "int8": 5.3, "fp16": 4.6}, 0.3, 2e8, 1, 1e8, 1.2),
}
OTHER = Rates({"int4": 60.0, "int8": 20.0, "fp16": 16.0}, 1.1, 5e10, 2, 9e9, 1.25)  # the slowest of them
