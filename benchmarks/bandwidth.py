"""What memory allows: the speed at which this machine copies it, and the bytes that one token reads."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from pipeline.harness.host import threads

COPY_BYTES = 2**29
BETWEEN = ("Convert", "Subtract", "Multiply", "Reshape")  # a packed weight and its use, in OpenVINO's IR


def copy_bandwidth() -> float:
    """GB/s that all cores together move in copies, read and written: the median of five."""
    count = threads()
    sources = [np.ones(COPY_BYTES // count, np.uint8) for _ in range(count)]
    targets = [np.zeros_like(source) for source in sources]
    seconds = []
    with ThreadPoolExecutor(count) as pool:
        for _ in range(6):
            begun = time.perf_counter()
            list(pool.map(np.copyto, targets, sources))
            seconds.append(time.perf_counter() - begun)
    return 2 * COPY_BYTES / median(seconds[1:]) / 1e9


def bytes_per_token(backend: str, folder: Path) -> int:
    """Bytes of weights that one decoded token reads: all but the embedding table, of which it reads a row.

    A table that is the output matrix as well (tied) is read whole.
    """
    read = {"onnxruntime": _of_onnx, "openvino": _of_openvino, "llamacpp": _of_gguf, "mlx": _of_mlx}
    return read[backend](folder)


def _of_gguf(folder: Path) -> int:
    from gguf import GGUFReader

    (file,) = folder.glob("*.gguf")
    sizes = {tensor.name: int(tensor.n_bytes) for tensor in GGUFReader(file).tensors}
    return sum(sizes.values()) - (sizes["token_embd.weight"] if "output.weight" in sizes else 0)


def _of_mlx(folder: Path) -> int:
    from pipeline.model.checkpoint import read_headers

    sizes = {name: tensor.size for name, tensor in read_headers(folder).items()}
    tied = not any(name.startswith("lm_head.") for name in sizes)
    return sum(size for name, size in sizes.items() if tied or not name.startswith("model.embed_tokens."))


def _of_onnx(folder: Path) -> int:
    import onnx

    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    sizes = {
        tensor.name: next((int(item.value) for item in tensor.external_data if item.key == "length"), 0)
        for tensor in model.graph.initializer
    }
    gathered = {node.input[0] for node in model.graph.node if node.op_type.startswith("Gather")}
    return sum(size for name, size in sizes.items() if name not in gathered)


def _of_openvino(folder: Path) -> int:
    import openvino

    model = openvino.Core().read_model(folder / "openvino_model.xml")
    constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    return sum(node.get_byte_size() for node in constants if _users(node) != {"Gather"})


def _users(node: Any) -> set[str]:
    """The kinds of operators that a constant, unpacked, goes into."""
    kinds: set[str] = set()
    for target in node.output(0).get_target_inputs():
        user = target.get_node()
        kinds |= _users(user) if user.get_type_name() in BETWEEN else {user.get_type_name()}
    return kinds
