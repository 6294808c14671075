"""What the report's pictures show: cells as points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.reporting.choice import recommend, targets_of
from pipeline.reporting.figures import AXES, FLOOR, NOISY, axis
from pipeline.reporting.paired import better
from pipeline.reporting.uncertain import KL, interval
from pipeline.rows import Row


@dataclass(frozen=True)
class Point:
    """One cell in a plot; cells that share both figures share a point, `of` is one of them."""

    x: float
    y: float
    label: str
    backend: str
    family: str
    noisy: bool
    chosen: bool = False  # what is shipped to a target
    interval: tuple[float, float] | None = None  # of y, 95 %
    of: Row | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Line:
    """A gate, across the picture: on which axis, where, and its name."""

    axis: str
    bound: float
    name: str


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
        """The points that no other of them beats in both figures, from left to right."""
        sign = -1 if self.speed else 1  # more speed is better, more bytes are not
        kept: list[Point] = []
        for point in sorted(points, key=lambda point: (sign * point.x, point.y)):
            if not any(_finer(other, point) >= (0 if other.x != point.x else 1) for other in kept):
                kept.append(point)
        return sorted(kept, key=lambda point: point.x)


def _finer(one: Point, other: Point) -> int:
    """1 where the first diverges less, -1 where more, 0 where its tokens show no difference."""
    if one.of and other.of:
        return better(one.of, other.of)
    own, its = max(one.y, FLOOR), max(other.y, FLOOR)
    return (own < its) - (own > its)


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


# gate → the axis of the pictures that have it, and the metric of x
BOUNDS = {
    "max_kl_nats": ("y", ""),
    "max_package_mb": ("x", "size_bytes"),
    "min_decode_tokens_per_s": ("x", "decode_tokens_per_s"),
}
NEAR = 30  # a gate further than this times from all points is not drawn


def lines_of(rows: Sequence[Row], picture: Picture, points: Sequence[Point]) -> list[Line]:
    """The gates near the picture's points; one that targets share comes once, named with them where they differ."""
    targets: dict[tuple[str, float], list[str]] = {}
    for row in rows:
        for gate in row.gates:
            if gate.gate in BOUNDS and BOUNDS[gate.gate][1] in ("", picture.metric):
                held = targets.setdefault((gate.gate, gate.bound), [])
                held += [row.target] if row.target not in held else []
    everywhere = len({row.target for row in rows})
    lines = []
    for (name, bound), its in targets.items():
        axis = BOUNDS[name][0]
        values = [max(point.y, FLOOR) if axis == "y" else point.x for point in points]
        if values and min(values) / NEAR <= bound <= max(values) * NEAR:
            lines.append(
                Line(axis, bound, f"{name} {bound:g}" + ("" if len(its) == everywhere else f" ({', '.join(its)})"))
            )
    return lines


def source_of(rows: Sequence[Row], picture: Picture) -> str:
    """What the picture is of: the models, and of speeds the machines."""
    measured = [row for row in rows if row.metrics.get(picture.metric) is not None]
    names = dict.fromkeys(row.model for row in measured)
    machines = dict.fromkeys(row.measured_on for row in measured if picture.speed and row.measured_on)
    return " · ".join([", ".join(names), *(str(machine) for machine in machines)])


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
    shipped = {recommend(rows, target).choice for target in targets_of(rows)}
    for (x, y, backend, family), same in together.items():
        noisy = picture.speed and any(row.noisy for row in same)
        names = [list(dict.fromkeys(axis(row, name) for row in same)) for name in axes]
        label = " ".join("/".join(values) for values in names) + (NOISY if noisy else "")
        chosen = any(row.id in shipped for row in same)
        points.append(Point(x, y, label, backend, family, noisy, chosen, interval(same[0], KL), same[0]))
    return points
