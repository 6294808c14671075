"""Weights that two graphs share: one data file, in which the second adds what the first lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.backends.onnxruntime.files import DATA, PROMPT


def save_sharing_weights(model: Any, path: Path, first: bool) -> None:
    """Write the model with its tensors in `model.onnx.data`; the second model appends what the first lacks."""
    import onnx

    data = path.with_name(DATA)
    known = {} if first else _stored(path.with_name(PROMPT))
    with data.open("wb" if first else "ab") as file:
        for tensor in model.graph.initializer:
            if tensor.ByteSize() < 1024:
                continue
            raw = tensor.raw_data if tensor.HasField("raw_data") else onnx.numpy_helper.to_array(tensor).tobytes()
            place = known.get(tensor.name)
            if place is None or place[1] != len(raw) or _read(data, *place) != raw:
                file.seek(0, 2)
                file.write(b"\0" * (-file.tell() % 4096))
                place = (file.tell(), len(raw))
                file.write(raw)
                file.flush()
            kind, dims, name = tensor.data_type, list(tensor.dims), tensor.name
            tensor.Clear()
            tensor.data_type, tensor.name = kind, name
            tensor.dims.extend(dims)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", DATA), ("offset", place[0]), ("length", place[1])):
                tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString(deterministic=True))


def _stored(path: Path) -> dict[str, tuple[int, int]]:
    """{tensor: (offset, length)} of a model's external data."""
    import onnx

    places = {}
    for tensor in onnx.load(path, load_external_data=False).graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries:
            places[tensor.name] = (int(entries["offset"]), int(entries["length"]))
    return places


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
