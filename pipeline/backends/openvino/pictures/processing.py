"""What VLMPipeline's own processing cuts a picture to.

The pipeline keeps it to itself. Its graph is small and made in its source (visual_language/phi4mm/classes.cpp); here
the same operators are put together, and compiled without settings, as it does. tests/contract holds both against each
other. Where the reference rounds the scaled picture to whole steps of 256, this stays in floating point.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.pictures.processing import SIDE, Picture, fitted_to, in_crops, masked

SHARPNESS = -0.75


def seen_by_runtime(path: str | Path) -> Picture:
    """A picture's file, cut."""
    pixels = read_pixels(path)
    height, width = pixels.shape[1:3]
    grid, fitted = fitted_to(width, height)
    request = _graph().create_infer_request()
    made = request.infer({"image": pixels, "size": np.array(fitted[::-1]), "whole": np.array(grid[::-1])})
    scaled, small = made["scaled"], made["small"]
    return Picture(np.concatenate([small, in_crops(scaled[0])]), masked(grid, fitted), grid[1], grid[0])


def read_pixels(path: str | Path) -> NDArray[np.uint8]:
    """RGB as the pipeline takes it, uint8 [1, height, width, 3]."""
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image.convert("RGB"))[None]


def _graph() -> Any:
    """image uint8 [1, height, width, 3], size and whole (height, width) → scaled [1, 3, …], small [1, 3, 448, 448]."""
    import openvino
    from openvino import opset13 as op

    def taken(name: str, shape: list[int], kind: Any) -> Any:
        node = op.parameter(openvino.PartialShape(shape), kind, name=name)
        node.output(0).get_tensor().set_names({name})
        return node

    def resized(node: Any, size: Any, mode: str) -> Any:
        return op.interpolate(
            node,
            size,
            mode=mode,
            shape_calculation_mode="sizes",
            axes=op.constant(np.array([2, 3])),
            coordinate_transformation_mode="pytorch_half_pixel",
            nearest_mode="floor",
            cube_coeff=SHARPNESS,
        )

    image = taken("image", [1, -1, -1, 3], openvino.Type.u8)
    size, whole = (taken(name, [2], openvino.Type.i64) for name in ("size", "whole"))
    shares = op.divide(op.convert(image, openvino.Type.f32), op.constant(np.float32(255)))
    fitted = resized(op.transpose(shares, op.constant(np.array([0, 3, 1, 2]))), size, "bilinear_pillow")
    none = op.constant(np.array([0, 0]))
    after = op.concat([none, op.subtract(whole, size)], 0)
    filled = op.pad(fitted, op.constant(np.zeros(4, np.int64)), after, "constant", op.constant(np.float32(1)))
    half = op.constant(np.float32(0.5))
    scaled = op.divide(op.subtract(filled, half), half)
    small = resized(scaled, op.constant(np.array([SIDE, SIDE])), "cubic")
    results = []
    for node, name in ((scaled, "scaled"), (small, "small")):
        result = op.result(node)
        result.output(0).get_tensor().set_names({name})
        results.append(result)
    model = openvino.Model(results, [image, size, whole], "processing")
    return openvino.Core().compile_model(model, "CPU")
