"""Where labels go in a scatter plot, so that they hide neither points nor each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]  # left, bottom, right, top
Place = tuple[float, float]  # the centre of a label

DISTANCES = (1.0, 1.8, 2.8, 4.0, 5.5, 7.5)
ANGLES = (0, 180, 90, 270, 45, 315, 135, 225, 22, 338, 158, 202)


def place(points: Sequence[Place], sizes: Sequence[Place], bounds: Box, step: float) -> list[Place]:
    """A centre per label: the nearest free place about its point, or the least bad one.

    `points` are marker centres and `sizes` the labels' widths and heights, all in one unit; `step` is the
    distance between a marker's centre and the nearest edge of its label.
    """
    taken = [(x - step / 2, y - step / 2, x + step / 2, y + step / 2) for x, y in points]
    chosen: dict[int, Place] = {}
    for i in sorted(range(len(points)), key=lambda i: (-points[i][1], points[i][0])):
        candidates = [_candidate(points[i], sizes[i], step * d, angle) for d in DISTANCES for angle in ANGLES]
        costs = [_cost(box, taken, bounds) for _, box in candidates]
        best = min(range(len(candidates)), key=lambda c: (costs[c], c))
        chosen[i] = candidates[best][0]
        taken.append(candidates[best][1])
    return [chosen[i] for i in range(len(points))]


def _candidate(point: Place, size: Place, distance: float, angle: int) -> tuple[Place, Box]:
    dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x = point[0] + distance * dx + size[0] / 2 * _side(dx)
    y = point[1] + distance * dy + size[1] / 2 * _side(dy)
    return (x, y), (x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2)


def _side(direction: float) -> float:
    return 0.0 if abs(direction) < 0.3 else math.copysign(1.0, direction)


def _cost(box: Box, taken: Sequence[Box], bounds: Box) -> float:
    """The area that the box shares with others or has outside the bounds."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    return (area - _overlap(box, bounds)) * 4 + sum(_overlap(box, other) for other in taken)


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
