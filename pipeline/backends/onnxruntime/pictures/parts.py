"""The files beside the decoder: what sees or hears, `embedding.onnx`, how files are read, and what names them all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.backends.base import Form
from pipeline.backends.onnxruntime.files import CONFIG, EMBEDDING, NO_VISION, PROCESSOR, TOWER
from pipeline.backends.onnxruntime.pictures import conformer, tower, trace
from pipeline.backends.onnxruntime.pictures.processors import CROPS, PROCESSORS
from pipeline.model.checkpoint import EMBEDDING as TABLE
from pipeline.model.checkpoint import Tensor, read_float32, read_headers
from pipeline.pictures.kinds import PHI3V, PHI4MM, PHI4MM_SPEECH, Kind
from pipeline.pictures.tower import folder_of, kind_of, weightless_tower
from pipeline.types import Checkpoint

if TYPE_CHECKING:
    import onnx

OPSET, IR = 18, 9
HALVES = ("BF16", "F16")  # of the checkpoint: then 16 bits are stored, as float16
ROWS = 4096  # of the table at a time

TYPES = {PHI4MM: "phi4mm", PHI4MM_SPEECH: "phi4mm", PHI3V: "phi3v"}  # ONNX Runtime GenAI's


def write_parts(checkpoint: Checkpoint, form: Form, out: Path) -> None:
    """All of them, beside the decoder that the model builder wrote without its embedding."""
    kind, tensors = kind_of(checkpoint.folder), read_headers(folder_of(checkpoint.folder))
    graph, processor = TOWER.format(kind.modality), PROCESSOR.format(kind.modality)
    module = weightless_tower(checkpoint.folder)
    made = conformer.traced(module) if kind is PHI4MM_SPEECH else tower.traced(module, kind)
    trace.put_weights(made, tensors, halved={tensor.dtype for tensor in tensors.values()} <= set(HALVES))
    save(made, out / graph)
    del made
    _write_embedding(read_headers(checkpoint.weights)[TABLE], kind, out / EMBEDDING, form["precision"])
    _name_parts(out / CONFIG, kind)
    _write_json(out / processor, PROCESSORS[kind])
    if kind is PHI4MM_SPEECH:
        _write_no_vision(read_headers(checkpoint.weights)[TABLE].shape[1], out)


def _write_embedding(table: Tensor, kind: Kind, target: Path, precision: str) -> None:
    """input_ids [1, n] and image_features or audio_features [tokens, width] → inputs_embeds, in the decoder's own type.

    An id that has no row is none of the table's before a picture or sound takes its place. Negative ids are a picture's
    each; a second one's places have no rows in the features, and are refused by ScatterND. Beside audio_features GenAI
    hands over image_features of no rows.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    features, more = f"{kind.medium.field}_features", [tower.OUTPUT] if kind is PHI4MM_SPEECH else []
    rows, width = table.shape
    half = table.dtype in HALVES
    own = TensorProto.FLOAT if precision == "fp32" else TensorProto.FLOAT16
    constants = [
        _stored(table, np.dtype(np.float16 if half else np.float32), target.with_name(f"{target.name}.data")),
        *(
            numpy_helper.from_array(np.array(value, np.int64), name)
            for name, value in (("rows", rows), ("none", 0), ("place", max(kind.place, 0)), ("first", [0]))
        ),
    ]
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Less", ["ids", "rows"], ["held"]),
        helper.make_node("Where", ["held", "ids", "none"], ["known"]),
        helper.make_node("Gather", [TABLE, "known"], ["looked_up"]),
        helper.make_node("Cast", ["looked_up"], ["words"], to=own),
        helper.make_node("Less" if kind.place < 0 else "Equal", ["ids", "place"], ["seen"]),
        helper.make_node("NonZero", ["seen"], ["where_seen"]),
        helper.make_node("Transpose", ["where_seen"], ["places"], perm=[1, 0]),
        helper.make_node("Shape", ["places"], ["count"], start=0, end=1),
        helper.make_node("Slice", [features, "first", "count", "first"], ["taken"]),
        helper.make_node("Cast", ["taken"], ["sights"], to=own),
        helper.make_node("ScatterND", ["words", "places", "sights"], ["inputs_embeds"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"]),
        *(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [name.replace("features", "tokens"), width])
            for name in (features, *more)
        ),
    ]
    outputs = [helper.make_tensor_value_info("inputs_embeds", own, ["batch", "length", width])]
    graph = helper.make_graph(nodes, "embedding", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    model.producer_name, model.producer_version = "phi-deploy", ""
    onnx.save_model(model, target)


def _stored(table: Tensor, kind: np.dtype[Any], data: Path) -> onnx.TensorProto:
    """The table as an initializer whose values lie in the file `data`, written some rows at a time."""
    from onnx import TensorProto, helper

    held = TensorProto(name=TABLE, data_type=helper.np_dtype_to_tensor_dtype(kind), dims=table.shape)
    with data.open("wb") as file:
        for first in range(0, table.shape[0], ROWS):
            file.write(read_float32(table, slice(first, first + ROWS)).astype(kind).tobytes())
        length = file.tell()
    held.data_location = TensorProto.EXTERNAL
    for key, value in (("location", data.name), ("offset", "0"), ("length", str(length))):
        held.external_data.add(key=key, value=value)
    return held


def _write_no_vision(width: int, out: Path) -> None:
    """A graph in place of the tower, which GenAI loads whatever it is asked: of a picture it makes no rows."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    pixels, sizes, mask = tower.INPUTS
    types = {pixels: TensorProto.FLOAT, mask: TensorProto.FLOAT, sizes: TensorProto.INT64}
    none = numpy_helper.from_array(np.array([0, width], np.int64), "none")
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["none"], [tower.OUTPUT])],
        "no_vision",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()],
        [helper.make_tensor_value_info(tower.OUTPUT, TensorProto.FLOAT, ["image_tokens", width])],
        [none],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    model.producer_name = "phi-deploy"
    onnx.save_model(model, out / TOWER.format(NO_VISION))
    _write_json(out / PROCESSOR.format(NO_VISION), CROPS)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def save(model: onnx.ModelProto, target: Path) -> None:
    """The graph, and its weights beside it: protobuf holds 2 GB."""
    import onnx

    model.producer_name, model.producer_version = "phi-deploy", ""
    onnx.save_model(
        model,
        target,
        save_as_external_data=True,
        location=f"{target.name}.data",
        size_threshold=trace.LEAST,
        convert_attribute=False,
    )


def _name_parts(path: Path, kind: Kind) -> None:
    """genai_config.json of a model that sees or hears."""
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    model, features = config["model"], f"{kind.medium.field}_features"
    model["type"] = TYPES[kind]
    model["decoder"]["inputs"].pop("input_ids", None)
    model["decoder"]["inputs"]["inputs_embeds"] = "inputs_embeds"
    model["embedding"] = {
        "filename": EMBEDDING,
        "inputs": {"input_ids": "input_ids", features: features},
        "outputs": {"inputs_embeds": "inputs_embeds"},
    }
    names = conformer.NAMES if kind is PHI4MM_SPEECH else tower.NAMES
    model[kind.modality] = {
        **_files(kind.modality),
        "inputs": {name: given for name, given in names.items() if kind is not PHI3V or name != "attention_mask"},
        "outputs": {features: features},
    }
    if kind is PHI4MM:
        model["speech"] = {"config_filename": ""}  # GenAI's own default is a file, which asks for a graph
    elif kind is PHI4MM_SPEECH:
        model["embedding"]["inputs"][tower.OUTPUT] = tower.OUTPUT
        model["vision"] = _files(NO_VISION) | {"inputs": tower.NAMES, "outputs": {tower.OUTPUT: tower.OUTPUT}}
    path.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")


def _files(name: str) -> dict[str, Any]:
    return {"filename": TOWER.format(name), "config_filename": PROCESSOR.format(name)}
