"""The map of the items, coloured by cluster."""

import altair as alt

from jobs.report.charts.style import GREY, MAP_HEIGHT, Spec, finish_chart, start_chart
from jobs.report.statistics.item_map import ItemMap

_CLUSTER_COLOURS = (
    *("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7"),
    *("#9c755f", "#8b93a7", "#2dd4bf", "#a3e635", "#c084fc", "#fb7185", "#38bdf8", "#d97706"),
    *("#84cc16", "#6366f1", "#ec4899", "#14b8a6"),
)
_OTHER = "others"


def draw_map_chart(items: ItemMap) -> Spec:
    """Items by the two directions of most variance; the largest clusters in colours."""
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
    chart = start_chart(rows).encode(
        x=alt.X("x:Q", axis=hidden, scale=alt.Scale(zero=False)),
        y=alt.Y("y:Q", axis=hidden, scale=alt.Scale(zero=False)),
        size=alt.Size("ratings:Q", legend=None, scale=alt.Scale(type="sqrt", range=[18, 260])),
        color=alt.Color(
            "group:N",
            title="cluster",
            sort=None,
            scale=alt.Scale(domain=domain, range=[*_CLUSTER_COLOURS[: len(named)], GREY]),
            legend=alt.Legend(columns=10, symbolType="circle", symbolOpacity=1),
        ),
        opacity=alt.condition(picked, alt.value(0.75), alt.value(0.05)),
        tooltip=[
            alt.Tooltip("name:N", title="item"),
            *("genres:N", "cluster:N"),
            *(alt.Tooltip(f"{name}:Q", format=",") for name in ("ratings", "lists")),
        ],
    )
    return finish_chart(chart.mark_circle(stroke=None).add_params(picked, moved), MAP_HEIGHT)
