"""What is drawn, and what is asked of it: one to four of a shape in the quarters of a picture, or one digit."""

from __future__ import annotations

import random
from dataclasses import dataclass

COLOURS = {
    "red": (214, 39, 40),
    "green": (34, 139, 58),
    "blue": (38, 82, 214),
    "yellow": (242, 200, 22),
    "purple": (132, 46, 158),
    "black": (28, 28, 30),
}
SHAPES = ("circle", "square", "triangle", "cross")
PLACES = ("northwest", "northeast", "southwest", "southeast")  # one token each
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
Sizes = tuple[tuple[tuple[int, int], int], ...]
SIZES: Sizes = (  # width and height in pixels, and how often: one crop with white below, one without, two crops
    ((320, 160), 10),
    ((224, 224), 4),
    ((640, 320), 1),
    ((448, 448), 1),
    ((200, 300), 1),
)


@dataclass(frozen=True)
class Shape:
    """A shape in a quarter of the picture; `at` and `size` are shares of the quarter."""

    shape: str
    colour: str
    place: str
    at: tuple[float, float]
    size: float


@dataclass(frozen=True)
class Scene:
    """A picture's content: shapes of one kind and colour, or a digit in a colour."""

    size: tuple[int, int]
    paper: tuple[int, int, int]
    shapes: tuple[Shape, ...] = ()
    digit: int | None = None
    colour: str = ""
    at: tuple[float, float] = (0.5, 0.5)


def scene(draw: random.Random, size: tuple[int, int] | None = None, of: Sizes = SIZES) -> Scene:
    """One of them, of a size or one of some; a third show a digit."""
    sizes, often = zip(*of, strict=True)
    size = size or draw.choices(sizes, often)[0]
    light = draw.randint(225, 255)
    paper = (light, light - draw.randint(0, 10), light - draw.randint(0, 16))
    if draw.random() < 1 / 3:
        at = (draw.uniform(0.47, 0.53), draw.uniform(0.48, 0.52))
        return Scene(size, paper, digit=draw.randrange(10), colour=draw.choice(list(COLOURS)), at=at)
    shape, colour, count = draw.choice(SHAPES), draw.choice(list(COLOURS)), draw.randint(1, 4)
    shapes = tuple(
        Shape(shape, colour, place, (draw.uniform(0.4, 0.6), 0.5), draw.uniform(0.75, 0.95))
        for place in draw.sample(PLACES, count)
    )
    return Scene(size, paper, shapes)


def questions(found: Scene) -> list[tuple[str, str]]:
    """All that can be asked of a scene, each with its answer."""
    if found.digit is not None:
        asked = [("Which digit is it?", f"It is {NUMBERS[found.digit]}.")]
        return [*asked, ("What colour is it?", f"It is {found.colour}.")]
    count, one = len(found.shapes), found.shapes[0]
    asked = [
        ("How many are there?", f"There {'is' if count == 1 else 'are'} {NUMBERS[count]}."),
        ("What colour is it?", f"It is {one.colour}."),
        ("Which shape is it?", f"It is a {one.shape}."),
    ]
    asked += [("Where is it?", f"In the {one.place}.")] if count == 1 else []
    held = {shape.place: f"A {shape.colour} {shape.shape}." for shape in found.shapes}
    return asked + [(f"What is in the {place}?", held.get(place, "Nothing.")) for place in PLACES]


def sentences() -> list[str]:
    """Every question and answer there is: what the tokenizer is made of."""
    found = {f"There are {name}." for name in NUMBERS} | {"There is one.", "How many are there?", "Nothing."}
    found |= {f"It is {name}." for name in (*NUMBERS, *COLOURS)} | {"Which digit is it?", "What colour is it?"}
    found |= {f"It is a {shape}." for shape in SHAPES} | {"Which shape is it?", "Where is it?"}
    found |= {f"In the {place}." for place in PLACES} | {f"What is in the {place}?" for place in PLACES}
    found |= {f"A {colour} {shape}." for colour in COLOURS for shape in SHAPES}
    return sorted(found)
