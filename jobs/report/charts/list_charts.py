"""The charts of the report, as Vega-Lite specifications that the page draws.

Text and lines have the colour of the page, so that one drawing serves light, dark and paper.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from jobs.report.content import DRAWN_METRICS
from jobs.report.figures.parts import ItemMap, LengthBin, ReportData, RunPoint, ScoreBin

_INK = "currentColor"
_BLUE, _ORANGE, _GREY = "#3b82f6", "#f59e0b", "#94a3b8"
_CLUSTER_COLOURS = (
    *("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7"),
    *("#9c755f", "#8b93a7", "#2dd4bf", "#a3e635", "#c084fc", "#fb7185", "#38bdf8", "#d97706"),
    *("#84cc16", "#6366f1", "#ec4899", "#14b8a6"),
)
_OTHER = "others"
_HEIGHT, _SMALL_HEIGHT, _MAP_HEIGHT = 240, 130, 520
_CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": _INK,
        "titleColor": _INK,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": _INK,
        "gridOpacity": 0.12,
        "domainColor": _INK,
        "domainOpacity": 0.3,
        "ticks": False,
        "labelPadding": 6,
    },
    "legend": {"labelColor": _INK, "titleColor": _INK, "labelFontSize": 12, "orient": "top"},
}

Spec = dict[str, Any]


def draw_charts(data: ReportData) -> dict[str, Spec]:
    """Every chart that there is something to draw for, by the name of its place in the page."""
    manifest = data.manifest
    charts = {
        "funnel": _draw_funnel(manifest["funnel"]),
        "losses": _draw_losses(data.losses) if len(data.losses) > 1 else None,
        "metrics": _draw_metrics(manifest["evaluation"]) if manifest.get("evaluation") else None,
        "scores": _draw_scores(data.scores) if data.scores else None,
        "lengths": _draw_lengths(data.lengths) if data.lengths else None,
        "concentration": _draw_concentration(data.coverage.curve),
        "map": _draw_map(data.map),
    }
    for place, name in enumerate(list_series(data.history)):
        charts[f"series-{place}"] = _draw_series(data.history, name)
    return {name: chart for name, chart in charts.items() if chart is not None}


def list_series(history: Sequence[RunPoint]) -> list[str]:
    """The figures to draw over the kept runs, metrics first; none of a run that stands alone."""
    if len(history) < 2:
        return []
    names = dict.fromkeys(name for point in history for name in point.figures)
    return sorted(names, key=lambda name: "@" not in name)


def _chart(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    return alt.Chart({"values": list(rows)})


def _finish(chart: Any, height: int = _HEIGHT) -> Spec:
    spec: Spec = chart.properties(width="container", height=height).to_dict()
    del spec["$schema"]  # an address, which the page has no use for
    return {**spec, "config": _CONFIG, "autosize": {"type": "fit-x", "contains": "padding"}}


def _draw_funnel(funnel: Sequence[Mapping[str, Any]]) -> Spec:
    rows = [
        {"step": step["step"], "ratings": step["rows"], "rule": step["rule"]} for step in funnel
    ]
    chart = _chart(rows).encode(
        x=alt.X("ratings:Q", title="ratings", axis=alt.Axis(format="~s", tickCount=5)),
        y=alt.Y("step:N", sort=None, title=None),
        tooltip=[alt.Tooltip("step:N"), alt.Tooltip("ratings:Q", format=","), "rule:N"],
    )
    return _finish(chart.mark_bar(color=_BLUE, cornerRadiusEnd=3), 34 * len(rows) + 40)


def _draw_losses(losses: Sequence[tuple[int, float]]) -> Spec:
    rows = [{"epoch": epoch, "loss": loss} for epoch, loss in losses]
    chart = _chart(rows).encode(
        x=alt.X("epoch:Q", title="epoch or iteration", axis=alt.Axis(tickMinStep=1, tickCount=8)),
        y=alt.Y("loss:Q", title="loss", scale=alt.Scale(zero=False)),
        tooltip=["epoch:Q", alt.Tooltip("loss:Q", format=".5~g")],
    )
    return _finish(chart.mark_line(color=_BLUE, point={"size": 12, "color": _BLUE}))


def _draw_metrics(evaluation: Mapping[str, Any]) -> Spec | None:
    length = int(evaluation["select_by"].split("@")[1])
    rows = [
        {"model": model, **{name: value[name] for name in ("metric", "value", "low", "high")}}
        for model, values in evaluation["metrics"].items()
        for value in values
        if value["k"] == length and value["metric"] in DRAWN_METRICS
    ]
    n_models, metrics = len({row["model"] for row in rows}), {row["metric"] for row in rows}
    base = _chart(rows).encode(
        y=alt.Y("metric:N", title=None, sort=None),
        yOffset=alt.YOffset("model:N", sort=None),
        color=alt.Color(
            "model:N", title=None, sort=None, scale=alt.Scale(range=_model_colours(evaluation))
        ),
        tooltip=[
            *("model:N", "metric:N"),
            *(alt.Tooltip(f"{name}:Q", format=".4f") for name in ("value", "low", "high")),
        ],
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=alt.X("value:Q", title=f"for lists of {length}, with 95% intervals")
    )
    ranges = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q")
    return _finish(ranges + points, 14 * n_models * len(metrics) + 30)


def _model_colours(evaluation: Mapping[str, Any]) -> list[str]:
    """Models in colours, baselines in grey."""
    colours = iter((_BLUE, _ORANGE, "#10b981", "#a855f7"))
    baselines = {"popularity": _GREY, "item_mean": "#64748b"}
    return [baselines.get(model) or next(colours, _BLUE) for model in evaluation["metrics"]]


def _draw_series(history: Sequence[RunPoint], name: str) -> Spec:
    rows = [
        {"started": point.started, "run": point.run_id, "of": of, "value": figures[name]}
        for point in history
        for of, figures in (("this job", point.figures), ("popularity", point.baseline))
        if name in figures
    ]
    chart = _chart(rows).encode(
        x=alt.X(
            "started:T",
            title=None,
            scale=alt.Scale(type="utc"),
            axis=alt.Axis(tickCount=4, labelOverlap=True),
        ),
        y=alt.Y(
            "value:Q",
            title=None,
            scale=alt.Scale(zero=False, nice=True),
            axis=alt.Axis(format="~s" if name.partition(" ")[0] in _COUNTED else "~g", tickCount=4),
        ),
        color=alt.Color(
            "of:N",
            legend=None,
            scale=alt.Scale(domain=["this job", "popularity"], range=[_BLUE, _GREY]),
        ),
        tooltip=["run:N", "of:N", alt.Tooltip("value:Q", format=",.4~f")],
    )
    return _finish(chart.mark_line(point={"size": 36}), _SMALL_HEIGHT)


_COUNTED = ("ratings", "users")
"""First words of the figures that are counts."""


def _draw_scores(bins: Sequence[ScoreBin]) -> Spec:
    rows = [
        {"low": one.low, "high": one.high, "place": place, "lists": count}
        for one in bins
        for place, count in (("first places", one.first), ("other places", one.other))
    ]
    chart = _chart(rows).encode(
        x=alt.X("low:Q", bin="binned", title="score", scale=alt.Scale(zero=False, nice=False)),
        x2="high:Q",
        y=alt.Y("lists:Q", title="places", stack=True, axis=alt.Axis(format="~s", tickCount=5)),
        color=alt.Color(
            "place:N",
            title=None,
            scale=alt.Scale(domain=["first places", "other places"], range=[_ORANGE, _BLUE]),
        ),
        tooltip=[
            "place:N",
            *(alt.Tooltip(f"{name}:Q", format=".4~g") for name in ("low", "high")),
            alt.Tooltip("lists:Q", title="places", format=","),
        ],
    )
    return _finish(chart.mark_bar(binSpacing=1))


def _draw_lengths(bins: Sequence[LengthBin]) -> Spec:
    rows = [{"length": _name_range(one.shortest, one.longest), "users": one.users} for one in bins]
    chart = _chart(rows).encode(
        x=alt.X("length:O", sort=None, title="items in the list", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("users:Q", title="users", axis=alt.Axis(format="~s", tickCount=5)),
        tooltip=["length:O", alt.Tooltip("users:Q", format=",")],
    )
    return _finish(chart.mark_bar(color=_BLUE, cornerRadiusEnd=3))


def _name_range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _draw_concentration(curve: Sequence[tuple[float, float]]) -> Spec:
    rows = [{"items": items, "places": places, "even": items} for items, places in curve]
    base = _chart(rows).encode(
        x=alt.X(
            "items:Q",
            title="share of the catalogue, the most recommended first",
            axis=alt.Axis(format="%", tickCount=5),
            scale=alt.Scale(domain=[0, 1]),
        )
    )
    places = alt.Y(
        "places:Q",
        title="share of all places",
        axis=alt.Axis(format="%", tickCount=5),
        scale=alt.Scale(domain=[0, 1]),
    )
    area = base.mark_area(
        color=_BLUE, opacity=0.25, line={"color": _BLUE}, interpolate="linear"
    ).encode(
        y=places,
        tooltip=[
            alt.Tooltip("items:Q", title="catalogue", format=".1%"),
            alt.Tooltip("places:Q", format=".1%"),
        ],
    )
    even = base.mark_line(color=_GREY, strokeDash=[4, 4]).encode(y="even:Q")
    return _finish(area + even)


def _draw_map(items: ItemMap) -> Spec:
    sizes: dict[int, int] = {}
    for item in items.items:
        sizes[item.cluster] = sizes.get(item.cluster, 0) + 1
    largest = sorted(sizes, key=lambda cluster: (-sizes[cluster], cluster))
    named = sorted(largest[: len(_CLUSTER_COLOURS)])
    domain = [str(cluster) for cluster in named] + ([_OTHER] if len(largest) > len(named) else [])
    rows = [
        {**vars(item), "group": str(item.cluster) if item.cluster in named else _OTHER}
        for item in items.items
    ]
    picked = alt.selection_point(name="picked", fields=["group"], bind="legend")
    moved = alt.selection_interval(
        name="moved",
        bind="scales",
        zoom="wheel![event.shiftKey]",
        translate="[pointerdown[event.shiftKey], window:pointerup] > window:pointermove!",
    )
    hidden = alt.Axis(labels=False, title=None, domain=False, grid=False)
    chart = _chart(rows).encode(
        x=alt.X("x:Q", axis=hidden, scale=alt.Scale(zero=False)),
        y=alt.Y("y:Q", axis=hidden, scale=alt.Scale(zero=False)),
        size=alt.Size("ratings:Q", legend=None, scale=alt.Scale(type="sqrt", range=[18, 260])),
        color=alt.Color(
            "group:N",
            title="cluster",
            sort=None,
            scale=alt.Scale(domain=domain, range=[*_CLUSTER_COLOURS[: len(named)], _GREY]),
            legend=alt.Legend(columns=10, symbolType="circle", symbolOpacity=1),
        ),
        opacity=alt.condition(picked, alt.value(0.75), alt.value(0.05)),
        tooltip=[
            alt.Tooltip("name:N", title="item"),
            *("genres:N", "cluster:N"),
            *(alt.Tooltip(f"{name}:Q", format=",") for name in ("ratings", "lists")),
        ],
    )
    return _finish(chart.mark_circle(stroke=None).add_params(picked, moved), _MAP_HEIGHT)
