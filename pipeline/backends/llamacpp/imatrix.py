"""Importance matrices: the mean squared input of every weight's channel, as llama-imatrix collects them.

llama.cpp calls back before and after every operator; of a matrix product by a weight, the other input is summed up.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.base import Progress
from pipeline.backends.llamacpp.files import is_gguf
from pipeline.backends.llamacpp.library import Model, library
from pipeline.errors import ArtifactError
from pipeline.harness.host import threads

Importance = dict[str, NDArray[np.float32]]  # tensor name → [inputs]


class _Tensor(ctypes.Structure):
    """`struct ggml_tensor` up to its sources and data; the layout belongs to the pinned release."""


_Tensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(_Tensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
]


def collect(path: Path, ids: NDArray[np.int64], progress: Progress) -> Importance:
    """Importance of every matrix of a GGUF file on calibration ids int64 [windows, length]."""
    functions = library()
    sums: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}

    def seen(pointer: int, ask: bool, data: Any) -> bool:
        tensor = ctypes.cast(pointer, ctypes.POINTER(_Tensor)).contents
        if not tensor.src[0] or not tensor.src[1]:
            return not ask
        weight, value = tensor.src[0].contents, tensor.src[1].contents
        name = weight.name.decode()
        if not name.endswith(".weight") or weight.ne[0] != value.ne[0] or weight.ne[1] <= 1 or value.type != 0:
            return not ask
        if ask:
            return True
        channels, rows = int(value.ne[0]), int(value.ne[1] * value.ne[2] * value.ne[3])
        flat = ctypes.cast(value.data, ctypes.POINTER(ctypes.c_float))
        inputs = np.ctypeslib.as_array(flat, shape=(rows, channels)).astype(np.float64)
        sums[name] = sums.get(name, 0.0) + (inputs**2).sum(axis=0)
        counts[name] = counts.get(name, 0) + rows
        return True

    callback = functions.ggml_backend_sched_eval_callback(seen)
    size = dict.fromkeys(("n_ctx", "n_batch", "n_ubatch"), ids.shape[1])
    count = dict.fromkeys(("n_threads", "n_threads_batch"), threads())
    model = Model(path, {**size, **count, "cb_eval": callback})
    try:
        for done, window in enumerate(ids, 1):
            model.decode(window)
            progress(done, len(ids))
    finally:
        model.close()
    return {name: (total / counts[name]).astype(np.float32) for name, total in sums.items()}


def read_importance(path: Path) -> Importance:
    """An importance matrix file as llama-imatrix writes it (GGUF). Raises ArtifactError for anything else."""
    import gguf

    if not is_gguf(path):
        raise ArtifactError(
            "this is no importance matrix in GGUF form", where=str(path), hint="llama-imatrix writes it"
        )
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    found = {}
    for name, data in tensors.items():
        if name.endswith(".in_sum2"):
            weight = name.removesuffix(".in_sum2")
            count = max(1.0, float(np.max(tensors[f"{weight}.counts"])))
            found[weight] = (data.reshape(-1) / count).astype(np.float32)
    if not found:
        raise ArtifactError("it holds no importance of any tensor", where=str(path), hint="llama-imatrix writes it")
    return found


def check_importance(importance: Importance, reader: Any, where: str) -> None:
    """Raises ArtifactError when the matrix belongs to another model."""
    channels = {tensor.name: int(tensor.shape[0]) for tensor in reader.tensors if len(tensor.shape) == 2}
    wanted = {name for name in channels if name.startswith("blk.")}
    missing = sorted(wanted - set(importance))
    wrong = [
        f"{name} has {importance[name].size} channels, not {channels[name]}"
        for name in sorted(wanted - set(missing))
        if importance[name].size != channels[name]
    ]
    if missing or wrong:
        what = wrong[0] if wrong else f"{missing[0]} is not in it"
        raise ArtifactError(f"the importance matrix is of another model: {what}", where=where)
