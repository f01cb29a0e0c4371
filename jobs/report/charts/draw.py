"""Every chart of the page, by the name of its place in it."""

from jobs.report.charts.list_charts import draw_concentration, draw_lengths, draw_scores
from jobs.report.charts.map_chart import draw_map_chart
from jobs.report.charts.run_charts import (
    draw_funnel,
    draw_losses,
    draw_metrics,
    draw_series,
    list_series,
)
from jobs.report.charts.style import Spec
from jobs.report.content import ReportData


def draw_charts(data: ReportData) -> dict[str, Spec]:
    """Every chart that there is something to draw for, by the name of its place in the page."""
    manifest = data.manifest
    charts = {
        "funnel": draw_funnel(manifest["funnel"]),
        "losses": draw_losses(data.losses) if len(data.losses) > 1 else None,
        "metrics": draw_metrics(manifest["evaluation"]) if manifest.get("evaluation") else None,
        "scores": draw_scores(data.scores) if data.scores else None,
        "lengths": draw_lengths(data.lengths) if data.lengths else None,
        "concentration": draw_concentration(data.coverage.curve),
        "map": draw_map_chart(data.map),
    }
    for place, name in enumerate(list_series(data.history)):
        charts[f"series-{place}"] = draw_series(data.history, name)
    return {name: chart for name, chart in charts.items() if chart is not None}
