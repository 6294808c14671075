"""What a package holds, as digests: whether two packages have the same weights, whatever they call them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

SMALL = 1000  # bytes: below are OpenVINO's shapes and axes, no weights


def tensors(backend: str, folder: Path) -> Counter[str]:
    """SHA-256 of each tensor's bytes, as stored, and how often it is there."""
    read = {"onnxruntime": _of_onnx, "openvino": _of_openvino, "llamacpp": _of_gguf, "mlx": _of_safetensors}
    return Counter(hashlib.sha256(content).hexdigest() for content in read[backend](folder))


def _of_onnx(folder: Path) -> Iterable[bytes]:
    import onnx

    model = onnx.load(str(folder / "model.onnx"))
    return (onnx.numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer)


def _of_openvino(folder: Path) -> Iterable[bytes]:
    import openvino

    nodes = openvino.Core().read_model(folder / "openvino_model.xml").get_ops()
    return (
        node.get_data().tobytes()
        for node in nodes
        if node.get_type_name() == "Constant" and node.get_byte_size() >= SMALL
    )


def _of_gguf(folder: Path) -> Iterable[bytes]:
    from gguf import GGUFReader

    (file,) = folder.glob("*.gguf")
    return (tensor.data.tobytes() for tensor in GGUFReader(file).tensors)


def _of_safetensors(folder: Path) -> Iterable[bytes]:
    import numpy as np

    from pipeline.model.checkpoint import read_headers

    for tensor in read_headers(folder).values():
        yield np.memmap(tensor.path, np.uint8, "r", tensor.offset, (tensor.size,)).tobytes()
