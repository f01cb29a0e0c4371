"""The charts of a run: ratings left, losses, metrics, and its figures over the kept runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from jobs.report.charts.style import (
    BLUE,
    GREY,
    ORANGE,
    SMALL_HEIGHT,
    Spec,
    finish_chart,
    start_chart,
)
from jobs.report.statistics.history import RunPoint
from recsys_core.evaluation.metric_names import UNIT_METRICS

_COUNTED = ("ratings", "users")
"""First words of the figures that are counts."""


def list_series(history: Sequence[RunPoint]) -> list[str]:
    """The figures to draw over the kept runs, metrics first; none of a run that stands alone."""
    if len(history) < 2:
        return []
    names = dict.fromkeys(name for point in history for name in point.figures)
    return sorted(names, key=lambda name: "@" not in name)


def draw_funnel(funnel: Sequence[Mapping[str, Any]]) -> Spec:
    """A bar for the ratings that each cleaning rule left."""
    rows = [
        {"step": step["step"], "ratings": step["rows"], "rule": step["rule"]} for step in funnel
    ]
    chart = start_chart(rows).encode(
        x=alt.X("ratings:Q", title="ratings", axis=alt.Axis(format="~s", tickCount=5)),
        y=alt.Y("step:N", sort=None, title=None),
        tooltip=[alt.Tooltip("step:N"), alt.Tooltip("ratings:Q", format=","), "rule:N"],
    )
    return finish_chart(chart.mark_bar(color=BLUE, cornerRadiusEnd=3), 34 * len(rows) + 40)


def draw_losses(losses: Sequence[tuple[int, float]]) -> Spec:
    """The loss of the training by epoch."""
    rows = [{"epoch": epoch, "loss": loss} for epoch, loss in losses]
    chart = start_chart(rows).encode(
        x=alt.X("epoch:Q", title="epoch or iteration", axis=alt.Axis(tickMinStep=1, tickCount=8)),
        y=alt.Y("loss:Q", title="loss", scale=alt.Scale(zero=False)),
        tooltip=["epoch:Q", alt.Tooltip("loss:Q", format=".5~g")],
    )
    return finish_chart(chart.mark_line(color=BLUE, point={"size": 12, "color": BLUE}))


def draw_metrics(evaluation: Mapping[str, Any]) -> Spec | None:
    """Each model by each metric of the list length compared, with its interval."""
    length = int(evaluation["select_by"].split("@")[1])
    rows = [
        {"model": model, **{name: value[name] for name in ("metric", "value", "low", "high")}}
        for model, values in evaluation["metrics"].items()
        for value in values
        if value["k"] == length and value["metric"] in UNIT_METRICS
    ]
    n_models, metrics = len({row["model"] for row in rows}), {row["metric"] for row in rows}
    base = start_chart(rows).encode(
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
    return finish_chart(ranges + points, 14 * n_models * len(metrics) + 30)


def _model_colours(evaluation: Mapping[str, Any]) -> list[str]:
    """Models in colours, baselines in grey."""
    colours = iter((BLUE, ORANGE, "#10b981", "#a855f7"))
    baselines = {"popularity": GREY, "item_mean": "#64748b"}
    return [baselines.get(model) or next(colours, BLUE) for model in evaluation["metrics"]]


def draw_series(history: Sequence[RunPoint], name: str) -> Spec:
    """One figure over the kept runs, and of popularity where that has it."""
    rows = [
        {"started": point.started, "run": point.run_id, "of": of, "value": figures[name]}
        for point in history
        for of, figures in (("this job", point.figures), ("popularity", point.baseline))
        if name in figures
    ]
    chart = start_chart(rows).encode(
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
            scale=alt.Scale(domain=["this job", "popularity"], range=[BLUE, GREY]),
        ),
        tooltip=["run:N", "of:N", alt.Tooltip("value:Q", format=",.4~f")],
    )
    return finish_chart(chart.mark_line(point={"size": 36}), SMALL_HEIGHT)
