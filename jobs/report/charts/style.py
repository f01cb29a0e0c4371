"""How every chart looks.

Text and lines have the colour of the page, so that one drawing serves light, dark and paper.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

Spec = dict[str, Any]
INK = "currentColor"
BLUE, ORANGE, GREY = "#3b82f6", "#f59e0b", "#94a3b8"
HEIGHT, SMALL_HEIGHT, MAP_HEIGHT = 240, 130, 520
_CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": INK,
        "gridOpacity": 0.12,
        "domainColor": INK,
        "domainOpacity": 0.3,
        "ticks": False,
        "labelPadding": 6,
    },
    "legend": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "orient": "top"},
}


def start_chart(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """A chart of rows that stand in its specification."""
    return alt.Chart({"values": list(rows)})


def finish_chart(chart: Any, height: int = HEIGHT) -> Spec:
    """The specification of a chart as wide as its place in the page, ``height`` pixels high."""
    spec: Spec = chart.properties(width="container", height=height).to_dict()
    del spec["$schema"]  # an address, which the page has no use for
    return {**spec, "config": _CONFIG, "autosize": {"type": "fit-x", "contains": "padding"}}
