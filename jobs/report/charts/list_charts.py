"""The charts of the lists: their scores, their lengths, and how concentrated they are."""

from collections.abc import Sequence

import altair as alt

from jobs.report.charts.style import BLUE, GREY, ORANGE, Spec, finish_chart, start_chart
from jobs.report.statistics.lists import LengthBin, ScoreBin


def draw_scores(bins: Sequence[ScoreBin]) -> Spec:
    """Places of the lists by score; first places apart."""
    rows = [
        {"low": one.low, "high": one.high, "place": place, "lists": count}
        for one in bins
        for place, count in (("first places", one.first), ("other places", one.other))
    ]
    chart = start_chart(rows).encode(
        x=alt.X("low:Q", bin="binned", title="score", scale=alt.Scale(zero=False, nice=False)),
        x2="high:Q",
        y=alt.Y("lists:Q", title="places", stack=True, axis=alt.Axis(format="~s", tickCount=5)),
        color=alt.Color(
            "place:N",
            title=None,
            scale=alt.Scale(domain=["first places", "other places"], range=[ORANGE, BLUE]),
        ),
        tooltip=[
            "place:N",
            *(alt.Tooltip(f"{name}:Q", format=".4~g") for name in ("low", "high")),
            alt.Tooltip("lists:Q", title="places", format=","),
        ],
    )
    return finish_chart(chart.mark_bar(binSpacing=1))


def draw_lengths(bins: Sequence[LengthBin]) -> Spec:
    """Users by the length of their list."""
    rows = [{"length": _name_range(one.shortest, one.longest), "users": one.users} for one in bins]
    chart = start_chart(rows).encode(
        x=alt.X("length:O", sort=None, title="items in the list", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("users:Q", title="users", axis=alt.Axis(format="~s", tickCount=5)),
        tooltip=["length:O", alt.Tooltip("users:Q", format=",")],
    )
    return finish_chart(chart.mark_bar(color=BLUE, cornerRadiusEnd=3))


def _name_range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def draw_concentration(curve: Sequence[tuple[float, float]]) -> Spec:
    """Share of the places by share of the catalogue, and the line of an even spread."""
    rows = [{"items": items, "places": places, "even": items} for items, places in curve]
    base = start_chart(rows).encode(
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
        color=BLUE, opacity=0.25, line={"color": BLUE}, interpolate="linear"
    ).encode(
        y=places,
        tooltip=[
            alt.Tooltip("items:Q", title="catalogue", format=".1%"),
            alt.Tooltip("places:Q", format=".1%"),
        ],
    )
    even = base.mark_line(color=GREY, strokeDash=[4, 4]).encode(y="even:Q")
    return finish_chart(area + even)
