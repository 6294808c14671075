"""The picture of what searches predicted and what was measured, in Vega-Lite; its data are the page's `searches`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.reporting.page.charts import colour_scale, drawn, plane
from pipeline.types import JSON

TOOLTIP = (("label", "what"), ("backend", "backend"), ("size", "size MB"), ("kl", "KL nats"), ("expected", "expected"))


def frontier(found: Sequence[JSON], colours: Mapping[str, str]) -> JSON | None:
    """A specification: dashed what is predicted, diamonds what was built, dots the fixed recipes; None without any."""
    if not found:
        return None
    place = plane("size", "size, MB", [point["size"] for point in found])
    colour = {"field": "backend", "type": "nominal", "scale": colour_scale(found, colours), "title": None}
    tooltip = [{"field": field, "title": title, "format": ".3~g"} for field, title in TOOLTIP[2:]]
    tooltip = [*({"field": field, "title": title} for field, title in TOOLTIP[:2]), *tooltip]
    shown = {**place, "color": colour, "tooltip": tooltip}
    return drawn(
        "searches",
        [
            {
                "transform": [{"filter": "datum.kind == 'predicted'"}],
                "mark": {"type": "line", "strokeDash": [5, 4], "strokeWidth": 1.5},
                "encoding": {
                    **place,
                    "color": colour,
                    "detail": {"field": "build"},
                    "order": {"field": "size", "type": "quantitative"},
                },
            },
            {
                "transform": [{"filter": "datum.kind == 'recipe'"}],
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.8},
                "encoding": shown,
            },
            {
                "transform": [{"filter": "datum.kind == 'built'"}],
                "mark": {"type": "point", "shape": "diamond", "strokeWidth": 2, "size": 110, "filled": True},
                "encoding": {
                    **shown,
                    "stroke": {**colour, "legend": None},
                    "fillOpacity": {"condition": {"test": "datum.chosen", "value": 1}, "value": 0},
                },
            },
            {
                "transform": [{"filter": "datum.kind == 'recipe' || datum.chosen"}],
                "mark": {
                    "type": "text",
                    "align": "left",
                    "dx": 9,
                    "dy": {"expr": "datum.chosen ? 10 : -5"},
                    "fontSize": 10,
                    "fontWeight": {"expr": "datum.chosen ? 'bold' : 'normal'"},
                },
                "encoding": {**place, "text": {"field": "label"}, "color": {"value": "--text"}},
            },
        ],
    )
