"""The page's pictures in Vega-Lite: quality against size and against speed.

The page's script gives the data, and puts the page's colours where a specification names one: `--text`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.reporting.choice import Choice
from pipeline.reporting.figures import FLOOR, NOISY
from pipeline.reporting.page.sections import MAIN, cell_text
from pipeline.reporting.pictures.points import NEAR, PICTURES, Picture, Point
from pipeline.reporting.uncertain import KL, interval
from pipeline.reporting.verdict import called
from pipeline.rows import Row
from pipeline.types import JSON

GATES = {
    "max_kl_nats": ("y", "kl", 1.0),
    "max_package_mb": ("size", "size", 1.0),
    "min_decode_tokens_per_s": ("speed", "speed", 1.0),
}
MORE_COLOURS = ("#E69F00", "#56B4E9", "#999999", "#F0E442")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-left", "triangle-right")


def points(rows: Sequence[Row], choices: Sequence[Choice]) -> list[JSON]:
    """A point per measured cell: numbers to place it, and texts to show."""
    chosen = {choice.choice for choice in choices}
    front = {cell for choice in choices for cell in choice.front}
    fronts = {picture.metric: _fronts(rows, picture) for picture in PICTURES}
    return [
        {
            "id": row.id,
            "label": called(row, rows),
            "named": called(row, rows) + (f" {NOISY}" if row.noisy else ""),
            "model": row.model,
            "target": row.target,
            "backend": row.backend,
            "precision": row.precision,
            "size": (row.metrics.size_bytes or 0) / 1e6,
            "speed": row.metrics.decode_tokens_per_s,
            "kl": max(row.metrics.kl_nats_mean_common, FLOOR),
            "chosen": row.id in chosen,
            "front": row.id in front,
            "front_size": row.id in fronts["size_bytes"],
            "front_speed": row.id in fronts["decode_tokens_per_s"],
            "noisy": row.noisy,
            **_bar(row),
            **{column.header: cell_text(row, column) for column in MAIN},
        }
        for row in rows
        if row.metrics.kl_nats_mean_common is not None and row.metrics.size_bytes is not None
    ]


def _bar(row: Row) -> JSON:
    """The ends of the divergence's interval, where it is known; what is below the floor is drawn on it."""
    ends = interval(row, KL)
    return {} if ends is None else {"kl_low": max(ends[0], FLOOR), "kl_high": max(ends[1], FLOOR)}


def _fronts(rows: Sequence[Row], picture: Picture) -> set[str]:
    """The cells on the picture's own front, of each model and target."""
    groups: dict[tuple[str, str], list[tuple[str, Point]]] = {}
    for row in rows:
        x, y = row.metrics.get(picture.metric), row.metrics.kl_nats_mean_common
        if x is not None and y is not None and not (picture.speed and row.noisy):
            point = Point(x / picture.unit, y, "", row.backend, row.precision, row.noisy, of=row)
            groups.setdefault((row.model, row.target), []).append((row.id, point))
    kept: set[str] = set()
    for group in groups.values():
        best = picture.front([point for _, point in group])
        kept |= {cell for cell, point in group if point in best}
    return kept


def gates(rows: Sequence[Row], shown: Sequence[JSON]) -> list[JSON]:
    """The gates that a picture has an axis for, once per target and model; `far` ones are said beside it, not drawn."""
    found: dict[tuple[str, str, str], JSON] = {}
    for row in rows:
        for gate in row.gates:
            if gate.gate not in GATES:
                continue
            axis, field, unit = GATES[gate.gate]
            bound = gate.bound / unit
            values = [point[field] for point in shown if point["target"] == row.target and point[field]]
            if not values:
                continue
            far = not min(values) / NEAR <= bound <= max(values) * NEAR
            held = {"axis": axis, "bound": bound, "gate": f"{gate.gate} {gate.bound:g}", "far": far}
            found[row.model, row.target, gate.gate] = {"model": row.model, "target": row.target, **held}
    return list(found.values())


def chart(shown: Sequence[JSON], colours: Mapping[str, str], x: str, title: str) -> JSON | None:
    """A specification of data that are the page's, `cells` and `gates`; None where there is nothing to draw.

    `x` is `size` or `speed`.
    """
    values = [point[x] for point in shown if point[x]]
    if not values:
        return None
    position = plane(x, title, values)
    faded = {"condition": {"test": "datum.front || datum.chosen", "value": 1}, "value": 0.45}
    layers = [
        _line(x, position),
        *_gates(x, position),
        _error_bars(position),
        {
            "transform": [{"filter": "datum.chosen"}],
            "mark": {"type": "point", "size": 420, "strokeWidth": 2, "filled": False, "shape": "circle"},
            "encoding": {**position, "stroke": {"value": "--text"}},
        },
        {
            "mark": {"type": "point", "size": 90, "filled": True},
            "encoding": {
                **position,
                "color": {"field": "backend", "type": "nominal", "scale": colour_scale(shown, colours), "title": None},
                "shape": {"field": "precision", "type": "nominal", "scale": _shapes(shown), "title": None},
                "opacity": faded,
                "tooltip": [
                    {"field": field, "title": name}
                    for field, name in (("label", "cell"), ("target", "target"), *((c.header,) * 2 for c in MAIN))
                ],
            },
        },
        {
            "transform": [{"filter": f"datum.front_{x} || datum.chosen"}],
            "mark": _label(x),
            "encoding": {
                **position,
                "text": {"field": "named" if x == "speed" else "label"},
                "color": {"value": "--text"},
            },
        },
    ]
    return {**drawn("cells", layers), "transform": [{"filter": f"isValid(datum.{x})"}]}


def plane(x: str, title: str, values: Sequence[float]) -> JSON:
    """The two positions of a point: `x`, of `values`, along; the divergence up."""
    wide = max(values) / min(values) > 20
    scale: JSON = {"type": "log"} if wide else {"zero": False, "padding": 24}
    return {
        "x": {"field": x, "type": "quantitative", "title": title, "scale": scale, "axis": {"tickCount": 6}},
        "y": {
            "field": "kl",
            "type": "quantitative",
            "title": "KL divergence from fp32, nats per token",
            "scale": {"type": "log", "padding": 16},
            "axis": {"format": ".0e", "tickCount": 6},
        },
    }


def drawn(data: str, layers: Sequence[JSON]) -> JSON:
    """Layers over one of the page's tables, as wide as there is room."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": "container",
        "height": 360,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"name": data},
        "layer": layers,
    }


def _label(x: str) -> JSON:
    """Names stand to the right of their points, or to the left near the edge; what is shipped is bold."""
    edge = f"scale('x', datum.{x}) > 0.7 * width"
    return {
        "type": "text",
        "align": {"expr": f"{edge} ? 'right' : 'left'"},
        "dx": {"expr": f"{edge} ? -10 : 10"},
        "dy": {"expr": "datum.chosen ? -13 : -8"},
        "fontSize": 11,
        "limit": 230,
        "fontWeight": {"expr": "datum.chosen ? 'bold' : 'normal'"},
    }


def _line(x: str, position: JSON) -> JSON:
    return {
        "transform": [{"filter": f"datum.front_{x}"}],
        "mark": {"type": "line", "strokeWidth": 1.5},
        "encoding": {
            **position,
            "detail": [{"field": "model"}, {"field": "target"}],
            "stroke": {"value": "--muted"},
            "order": {"field": x, "type": "quantitative"},
        },
    }


def _gates(x: str, position: JSON) -> list[JSON]:
    """Dashed lines with their names."""
    layers: list[JSON] = []
    for axis, name in (("y", "y"), (x, "x")):
        own = {"data": {"name": "gates"}, "transform": [{"filter": f"datum.axis == '{axis}' && !datum.far"}]}
        place = {name: {**position[name], "field": "bound"}}
        layers.append(
            {**own, "mark": {"type": "rule", "strokeDash": [5, 4]}, "encoding": {**place, "color": {"value": "--gate"}}}
        )
        right = name == "y" and x == "size"  # the end where fewer points are
        text: JSON = {"type": "text", "fontSize": 10, "align": "right" if right else "left", "dy": -5}
        edge = {"x": {"value": "width" if right else 0}} if name == "y" else {"y": {"value": 12}}
        said = {"text": {"field": "gate"}, "color": {"value": "--gate"}}
        layers.append({**own, "mark": {**text, "dx": -3 if right else 4}, "encoding": {**place, **edge, **said}})
    return layers


def _error_bars(position: JSON) -> JSON:
    """The interval of the divergence, where it is known."""
    return {
        "transform": [{"filter": "isValid(datum.kl_low) && isValid(datum.kl_high)"}],
        "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.8},
        "encoding": {
            "x": position["x"],
            "y": {**position["y"], "field": "kl_low"},
            "y2": {"field": "kl_high"},
            "color": {"value": "--muted"},
        },
    }


def colour_scale(shown: Sequence[JSON], known: Mapping[str, str]) -> JSON:
    """Backends' own colours, and others for those that have none."""
    names = list(dict.fromkeys(point["backend"] for point in shown))
    more = iter(MORE_COLOURS * (1 + len(names)))
    return {"domain": names, "range": [known.get(name) or next(more) for name in names]}


def _shapes(shown: Sequence[JSON]) -> JSON:
    families = list(dict.fromkeys(point["precision"] for point in shown))
    return {"domain": families, "range": [SHAPES[i % len(SHAPES)] for i in range(len(families))]}
