"""The files beside the decoder: `vision.onnx`, `embedding.onnx`, how pictures are cut, and what names them all."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.backends.base import Form
from pipeline.backends.onnxruntime.files import CONFIG, EMBEDDING, VISION, VISION_PROCESSOR
from pipeline.backends.onnxruntime.pictures.tower import INPUTS, OUTPUT, traced
from pipeline.model.checkpoint import EMBEDDING as TABLE
from pipeline.model.checkpoint import Tensor, read_float32, read_headers
from pipeline.pictures.kinds import PHI3V, PHI4MM, Kind
from pipeline.pictures.processing import MOST_CROPS, MOST_TILES, SIDE
from pipeline.pictures.tower import FOLDER, kind_of, load_tower
from pipeline.types import Checkpoint

if TYPE_CHECKING:
    import onnx

OPSET, IR = 18, 9
HALVES = ("BF16", "F16")  # of the checkpoint: then 16 bits are stored, as float16
LEAST = 1024  # values of a tensor that is stored so
ROWS = 4096  # of the table at a time

TYPES = {PHI4MM: "phi4mm", PHI3V: "phi3v"}  # ONNX Runtime GenAI's
CROPS = {
    "processor": {
        "name": "phi_4_image_processor",
        "transforms": [
            {"operation": {"name": "decode_image", "type": "DecodeImage", "attrs": {"color_space": "RGB"}}},
            {
                "operation": {
                    "name": "dynamic_preprocess",
                    "type": "Phi4VisionDynamicPreprocess",
                    "attrs": {"dynamic_hd": MOST_CROPS, "dyhd_base_resolution": SIDE},
                }
            },
            {"operation": {"name": "rescale", "type": "Rescale", "inputs": [":0"]}},
            {
                "operation": {
                    "name": "normalize",
                    "type": "Normalize",
                    "attrs": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
                }
            },
            {
                "operation": {
                    "name": "phi4_vision_processor",
                    "type": "Phi4VisionProcessor",
                    "inputs": [":0", "dynamic_preprocess:1"],
                    "attrs": {"dyhd_base_resolution": SIDE, "interpolation": "CUBIC"},
                }
            },
        ],
        "output_aligner": "phi4-vision-aligner",
    }
}
_EXTENSIONS = {"domain": "com.microsoft.extensions"}
TILES = {  # the transform makes 16 tiles, whatever num_crops says; its order of colours is turned before it
    "processor": {
        "name": "image_processing",
        "transforms": [
            {
                "operation": {
                    "name": "decode_image",
                    **_EXTENSIONS,
                    "type": "DecodeImage",
                    "attrs": {"color_space": "BGR"},
                }
            },
            {"operation": {"name": "convert_to_rgb", **_EXTENSIONS, "type": "ConvertRGB"}},
            {
                "operation": {
                    "name": "phi3_image_transform",
                    **_EXTENSIONS,
                    "type": "Phi3ImageTransform",
                    "attrs": {"num_crops": MOST_TILES, "num_img_tokens": 144},
                }
            },
        ],
    }
}


def write_parts(checkpoint: Checkpoint, form: Form, out: Path) -> None:
    """All of them, beside the decoder that the model builder wrote without its embedding."""
    kind = kind_of(checkpoint.folder)
    with TemporaryDirectory(dir=out, prefix="trace-") as place:
        traced(load_tower(checkpoint.folder), kind, Path(place) / VISION)
        _halve(Path(place) / VISION, out / VISION, read_headers(checkpoint.folder / FOLDER))
    _write_embedding(read_headers(checkpoint.weights)[TABLE], kind, out / EMBEDDING, form["precision"])
    _name_parts(out / CONFIG, kind)
    processor = TILES if kind is PHI3V else CROPS
    (out / VISION_PROCESSOR).write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")


def _halve(source: Path, target: Path, tensors: dict[str, Tensor]) -> None:
    """The graph with its matrices in float16 and widened as they are loaded, where the checkpoint has 16 bits."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    if {tensor.dtype for tensor in tensors.values()} <= set(HALVES):
        casts = []
        for held in model.graph.initializer:
            values = numpy_helper.to_array(held)
            if values.dtype != np.float32 or values.size < LEAST or np.abs(values).max() > np.finfo(np.float16).max:
                continue
            name = held.name
            held.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
        nodes = [*casts, *model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    _save(model, target)


def _write_embedding(table: Tensor, kind: Kind, target: Path, precision: str) -> None:
    """input_ids [1, n] and image_features [tokens, width] → inputs_embeds, in the decoder's own type.

    An id that has no row is none of the table's before a picture takes its place. Negative ids are a picture's each; a
    second one's places have no rows in the features, and are refused by ScatterND.
    """
    from onnx import TensorProto, helper, numpy_helper

    rows, width = table.shape
    half = table.dtype in HALVES
    values = np.empty((rows, width), np.float16 if half else np.float32)
    for first in range(0, rows, ROWS):
        values[first : first + ROWS] = read_float32(table, slice(first, first + ROWS))
    own = TensorProto.FLOAT if precision == "fp32" else TensorProto.FLOAT16
    constants = [
        numpy_helper.from_array(values, TABLE),
        *(
            numpy_helper.from_array(np.array(value, np.int64), name)
            for name, value in (("rows", rows), ("none", 0), ("image_id", max(kind.place, 0)), ("first", [0]))
        ),
    ]
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Less", ["ids", "rows"], ["held"]),
        helper.make_node("Where", ["held", "ids", "none"], ["known"]),
        helper.make_node("Gather", [TABLE, "known"], ["looked_up"]),
        helper.make_node("Cast", ["looked_up"], ["words"], to=own),
        helper.make_node("Less" if kind.place < 0 else "Equal", ["ids", "image_id"], ["seen"]),
        helper.make_node("NonZero", ["seen"], ["where_seen"]),
        helper.make_node("Transpose", ["where_seen"], ["places"], perm=[1, 0]),
        helper.make_node("Shape", ["places"], ["count"], start=0, end=1),
        helper.make_node("Slice", [OUTPUT, "first", "count", "first"], ["taken"]),
        helper.make_node("Cast", ["taken"], ["sights"], to=own),
        helper.make_node("ScatterND", ["words", "places", "sights"], ["inputs_embeds"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"]),
        helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["image_tokens", width]),
    ]
    outputs = [helper.make_tensor_value_info("inputs_embeds", own, ["batch", "length", width])]
    graph = helper.make_graph(nodes, "embedding", inputs, outputs, constants)
    _save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR), target)


def _save(model: onnx.ModelProto, target: Path) -> None:
    """The graph, and its weights beside it: protobuf holds 2 GB."""
    import onnx

    model.producer_name, model.producer_version = "phi-deploy", ""
    onnx.save_model(
        model,
        target,
        save_as_external_data=True,
        location=f"{target.name}.data",
        size_threshold=LEAST,
        convert_attribute=False,
    )


def _name_parts(path: Path, kind: Kind) -> None:
    """genai_config.json of a model that sees."""
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    model = config["model"]
    model["type"] = TYPES[kind]
    model["decoder"]["inputs"].pop("input_ids", None)
    model["decoder"]["inputs"]["inputs_embeds"] = "inputs_embeds"
    model["embedding"] = {
        "filename": EMBEDDING,
        "inputs": {"input_ids": "input_ids", OUTPUT: OUTPUT},
        "outputs": {"inputs_embeds": "inputs_embeds"},
    }
    pixels, sizes, mask = INPUTS
    model["vision"] = {
        "filename": VISION,
        "config_filename": VISION_PROCESSOR,
        "inputs": {"pixel_values": pixels, "image_sizes": sizes},
        "outputs": {OUTPUT: OUTPUT},
    }
    if kind is PHI4MM:
        model["vision"]["inputs"]["attention_mask"] = mask
        model["speech"] = {"config_filename": ""}  # GenAI's own default is a file, which asks for a graph
    path.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")
