"""A scene as a picture, by Pillow; digits are strokes, so that no font is needed."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from training.pictures.scenes import COLOURS, PLACES, Scene, Shape

LARGER = 2  # drawn so many times as large, then made smaller: edges are smooth
Points = list[tuple[float, float]]
# of a digit, in a box of width 1 and height 2: seven bars, as on a calculator
BARS: dict[str, Points] = {
    "a": [(0, 0), (1, 0)],
    "b": [(1, 0), (1, 1)],
    "c": [(1, 1), (1, 2)],
    "d": [(0, 2), (1, 2)],
    "e": [(0, 1), (0, 2)],
    "f": [(0, 0), (0, 1)],
    "g": [(0, 1), (1, 1)],
}
DIGITS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")


def picture(scene: Scene) -> Image.Image:
    """The picture, RGB, of the scene's size."""
    width, height = (LARGER * side for side in scene.size)
    image = Image.new("RGB", (width, height), scene.paper)
    pen = ImageDraw.Draw(image)
    for shape in scene.shapes:
        _shape(pen, shape, width / 2, height / 2)
    if scene.digit is not None:
        _digit(pen, scene, width, height)
    return image.resize(scene.size, Image.Resampling.BOX)


def labels(scene: Scene, rows: int, columns: int) -> list[int]:
    """Of a grid over the picture, which shape is at the middle of each place: its number, or -1."""
    image = Image.new("L", scene.size, 0)
    pen = ImageDraw.Draw(image)
    for number, shape in enumerate(scene.shapes, 1):
        _shape(pen, shape, scene.size[0] / 2, scene.size[1] / 2, number)
    width, height = scene.size
    at = [((c + 0.5) / columns * width, (r + 0.5) / rows * height) for r in range(rows) for c in range(columns)]
    drawn = np.asarray(image)
    return [int(drawn[int(y), int(x)]) - 1 for x, y in at]


def _shape(pen: ImageDraw.ImageDraw, shape: Shape, width: float, height: float, number: int = 0) -> None:
    place = PLACES.index(shape.place)
    x, y = (place % 2 + shape.at[0]) * width, (place // 2 + shape.at[1]) * height
    r = shape.size * min(width, height) / 2
    fill = number or COLOURS[shape.colour]
    if shape.shape == "circle":
        pen.ellipse([x - r, y - r, x + r, y + r], fill=fill)
    elif shape.shape == "square":
        s = 0.88 * r
        pen.rectangle([x - s, y - s, x + s, y + s], fill=fill)
    elif shape.shape == "triangle":
        corners = [(x + r * math.sin(turn), y - r * math.cos(turn)) for turn in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
        pen.polygon(corners, fill=fill)
    else:
        pen.rectangle([x - r, y - r / 4, x + r, y + r / 4], fill=fill)
        pen.rectangle([x - r / 4, y - r, x + r / 4, y + r], fill=fill)


def _digit(pen: ImageDraw.ImageDraw, scene: Scene, width: float, height: float) -> None:
    unit = 0.36 * min(width, height)
    left, top = scene.at[0] * width - unit / 2, scene.at[1] * height - unit
    for bar in DIGITS[scene.digit or 0]:
        (x0, y0), (x1, y1) = BARS[bar]
        ends = [(left + x * unit, top + y * unit) for x, y in ((x0, y0), (x1, y1))]
        pen.line(ends, fill=COLOURS[scene.colour], width=int(unit / 4))
