"""What the report's pictures show: cells as points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.records import Row
from pipeline.reporting.figures import AXES, FLOOR, NOISY, axis


@dataclass(frozen=True)
class Point:
    """One cell in a plot; cells that share both figures share a point."""

    x: float
    y: float
    label: str
    backend: str
    family: str
    noisy: bool


@dataclass(frozen=True)
class Picture:
    """A scatter plot of divergence against another metric."""

    name: str
    title: str
    metric: str
    unit: float
    x_label: str
    better: str
    speed: bool

    def front(self, points: Sequence[Point]) -> list[Point]:
        """The points that no other beats in both figures, from left to right."""
        sign = -1 if self.speed else 1  # more speed is better, more bytes are not

        def beaten(one: Point) -> bool:
            return any(
                (sign * other.x, max(other.y, FLOOR)) != (sign * one.x, max(one.y, FLOOR))
                and sign * other.x <= sign * one.x
                and max(other.y, FLOOR) <= max(one.y, FLOOR)
                for other in points
            )

        return sorted((point for point in points if not beaten(point)), key=lambda point: point.x)


PICTURES = (
    Picture("quality_size.png", "Quality against size", "size_bytes", 1e6, "package size, MB", "lower left", False),
    Picture(
        "speed_quality.png",
        "Quality against speed",
        "decode_tokens_per_s",
        1.0,
        "decode speed, tokens per second",
        "lower right",
        True,
    ),
)


def points_of(rows: Sequence[Row], picture: Picture) -> list[Point]:
    """The measured cells, named by the axes that tell them apart (the colour tells the backend)."""
    hidden = ("backend",) if picture.speed else ("backend", "target")  # a target changes neither size nor quality
    together: dict[tuple[float, float, str, str], list[Row]] = {}
    for row in rows:
        x, y = row.metrics.get(picture.metric), row.metrics.kl_nats_mean_common
        if x is not None and y is not None:
            together.setdefault((x / picture.unit, y, row.backend, row.precision), []).append(row)
    measured = [row for same in together.values() for row in same]
    axes = [a for a in AXES if a == "shown" or (a not in hidden and len({axis(row, a) for row in measured}) > 1)]
    points = []
    for (x, y, backend, family), same in together.items():
        noisy = picture.speed and any(row.noisy for row in same)
        names = [list(dict.fromkeys(axis(row, name) for row in same)) for name in axes]
        label = " ".join("/".join(values) for values in names) + (NOISY if noisy else "")
        points.append(Point(x, y, label, backend, family, noisy))
    return points
