"""A scatter plot as PNG bytes: the same points give the same bytes. Imported only to draw."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from pipeline.reporting.figures import FLOOR
from pipeline.reporting.pictures.labels import place
from pipeline.reporting.pictures.points import Line, Picture, Point

# of Okabe and Ito's colours, which the colour-blind tell apart as well, those that no backend here has
MORE_COLOURS = ("#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = {
    "fp32": "o",
    "fp16": "s",
    "bf16": "D",
    "int8": "^",
    "int6": "<",
    "int5": ">",
    "int4": "v",
    "int3": "p",
    "int2": "h",
}
GATE, RING = "#B42318", "#222222"
SIZE = 64.0  # of a marker, in square points
DPI = 120


def scatter(
    points: Sequence[Point],
    lines: Sequence[Line],
    picture: Picture,
    colours: Mapping[str, str],
    source: str,
    digest: str,
) -> bytes:
    """The picture, in the backends' colours; `source` says of what, `digest` is kept in its metadata."""
    colours = _colours(points, colours)
    with matplotlib.rc_context():
        matplotlib.rcParams.update({k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"})
        figure = Figure(figsize=(8.5, 5.5), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0.085, 0.095, 0.735, 0.85))
        figure.text(0.995, 0.012, source, ha="right", fontsize=8, color="#555555")
        axes.set_title(picture.title, loc="left", fontsize=13, fontweight="bold")
        if points:
            _draw(axes, points, picture, colours)
            _gates(axes, lines, picture)
            _label(axes, canvas, points, colours)
        else:
            axes.set_axis_off()
            missing = f"No cell has both a KL divergence and a {picture.x_label.partition(',')[0]} yet."
            axes.text(0.5, 0.5, missing, ha="center", va="center")
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None, "Comment": digest})
        return out.getvalue()


def _draw(axes: Axes, points: Sequence[Point], picture: Picture, colours: Mapping[str, str]) -> None:
    for point in points:
        axes.scatter(
            [point.x],
            [max(point.y, FLOOR)],
            s=SIZE,
            marker=MARKERS.get(point.family, "P"),
            facecolors="white" if point.noisy else colours[point.backend],
            edgecolors=colours[point.backend],
            linewidths=1.5,
            alpha=0.85,  # two backends may share a place
            zorder=3,
        )
        if point.interval:
            low, high = (max(end, FLOOR) for end in point.interval)
            axes.vlines(point.x, low, high, color=colours[point.backend], linewidth=1.2, zorder=2.5)
        if point.chosen:
            axes.scatter(
                [point.x], [max(point.y, FLOOR)], s=4 * SIZE, facecolors="none", edgecolors="#222222", zorder=3
            )
    front = picture.front(points)
    if len(front) > 1:
        line = [max(point.y, FLOOR) for point in front]
        axes.plot([point.x for point in front], line, color="#999999", linewidth=1.2, zorder=2)
    _limits(axes, points)
    axes.set_xlabel(picture.x_label)
    axes.set_ylabel("KL divergence from transformers fp32, nats per token")
    axes.set_title(f"better: {picture.better}", loc="right", fontsize=9, color="#555555")
    axes.grid(which="major", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    _legend(axes, points, colours)


def _gates(axes: Axes, lines: Sequence[Line], picture: Picture) -> None:
    """Dashed, and named at the end where fewer points are; the picture grows to show them."""
    for line in lines:
        across = axes.axhline if line.axis == "y" else axes.axvline
        across(line.bound, color=GATE, linestyle=(0, (5, 4)), linewidth=0.9, zorder=1)
        limits, widen = (axes.get_ylim(), axes.set_ylim) if line.axis == "y" else (axes.get_xlim(), axes.set_xlim)
        widen(min(limits[0], line.bound / 1.2), max(limits[1], line.bound * (2 if line.axis == "y" else 1.05)))
        if line.axis == "y":
            place, at, side = axes.get_yaxis_transform(), *((0.005, "left") if picture.speed else (0.995, "right"))
            axes.text(at, line.bound, line.name, transform=place, ha=side, va="bottom", fontsize=8, color=GATE)
        else:
            place = axes.get_xaxis_transform()
            axes.text(
                line.bound, 0.99, line.name, transform=place, ha="right", va="top", rotation=90, fontsize=8, color=GATE
            )


def _limits(axes: Axes, points: Sequence[Point]) -> None:
    values = [max(point.y, FLOOR) for point in points]
    axes.set_yscale("log")
    axes.set_ylim(10 ** (math.log10(min(values)) - 0.6), 10 ** (math.log10(max(values)) + 0.6))
    if any(point.y < FLOOR for point in points):
        axes.axhline(FLOOR, color="#888888", linestyle="--", linewidth=0.8, zorder=1)
        note = f"on the dashed line: at most {FLOOR:.0e} nats, equal but for rounding".replace("e-0", "e-")
        axes.text(0.995, 0.012, note, transform=axes.transAxes, ha="right", fontsize=8, color="#555555")
    low, high = min(point.x for point in points), max(point.x for point in points)
    if low > 0 and high / low > 20:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.5, high * 1.8)
    else:
        room = (high - low) or abs(high) or 1.0
        axes.set_xlim(low - 0.08 * room, high + 0.16 * room)


def _legend(axes: Axes, points: Sequence[Point], colours: Mapping[str, str]) -> None:
    def entry(label: str, marker: str = "o", color: str = "#555555", face: str | None = None) -> Line2D:
        return Line2D([], [], linestyle="", label=label, marker=marker, color=color, markerfacecolor=face)

    handles = [entry(backend, color=colour) for backend, colour in colours.items()]
    families = [family for family in MARKERS if any(point.family == family for point in points)]
    handles += [entry(family, marker=MARKERS[family]) for family in families]
    if len(points) > 1:
        handles.append(Line2D([], [], label="the front", color="#999999", linewidth=1.2))
    if any(point.chosen for point in points):
        handles.append(entry("what is shipped", color=RING, face="none"))
    if any(point.noisy for point in points):
        handles.append(entry("† busy machine", face="white"))
    axes.figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.82, 0.955), frameon=False, fontsize=9, handletextpad=0.3
    )


def _label(axes: Axes, canvas: FigureCanvasAgg, points: Sequence[Point], colours: Mapping[str, str]) -> None:
    """Names beside the points; a thin line leads to a name that is not next to its point."""
    renderer = canvas.get_renderer()
    texts = [axes.text(0, 0, point.label, color=colours[point.backend]) for point in points]
    for text in texts:
        text.set(fontsize=8.5, ha="center", va="center", zorder=4)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    boxes = [text.get_window_extent(renderer) for text in texts]
    pixels = [tuple(axes.transData.transform((point.x, max(point.y, FLOOR)))) for point in points]
    area = axes.get_window_extent(renderer)
    step = math.sqrt(SIZE) * DPI / 72
    centres = place(
        [(float(x), float(y)) for x, y in pixels],
        [(box.width, box.height) for box in boxes],
        (area.x0 + 2, area.y0 + 2, area.x1 - 2, area.y1 - 2),
        step,
    )
    for text, (x, y), (px, py), box in zip(texts, centres, pixels, boxes, strict=True):
        text.set_transform(None)
        text.set_position((x, y))
        near_x = min(max(px, x - box.width / 2), x + box.width / 2)
        near_y = min(max(py, y - box.height / 2), y + box.height / 2)
        if math.hypot(near_x - px, near_y - py) > 1.5 * step:
            axes.add_line(Line2D([px, near_x], [py, near_y], transform=None, color="#999999", linewidth=0.7, zorder=2))


def _colours(points: Sequence[Point], known: Mapping[str, str]) -> dict[str, str]:
    backends = sorted({point.backend for point in points})
    unknown = [backend for backend in backends if not known.get(backend)]
    more = {backend: MORE_COLOURS[i % len(MORE_COLOURS)] for i, backend in enumerate(unknown)}
    return {backend: more.get(backend) or known[backend] for backend in backends}
