"""An evaluation as tables for the terminal, and as files."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from jobs.errors import JobError
from jobs.stages.evaluate import EvaluationReport
from recsys_core.evaluation.comparison import MetricValue
from recsys_core.evaluation.metric_names import (
    CATALOGUE_METRICS,
    LIKED,
    PREDICTION_METRICS,
    RANKING_METRICS,
    split_liked,
)

_TABLE_FILE, _JSON_FILE = "evaluation.parquet", "evaluation.json"


def tabulate_lists(report: EvaluationReport, k: int) -> Table:
    """How good lists of length ``k`` are: two lines a model, by any rating and by what was liked.

    The metric that models are compared by has its interval.
    """
    evaluation, (selected, _) = report.evaluation, report.config.metric
    table = _start_table(f"lists of {k}, {evaluation.n_users:,} users{_describe_liking(report)}")
    _add_columns(table, ["model", *RANKING_METRICS])
    is_selected = [name == split_liked(selected)[0] for name in RANKING_METRICS]

    def add_row(label: str, model: str, prefix: str) -> None:
        values = [evaluation.find(model, prefix + name, k) for name in RANKING_METRICS]
        table.add_row(label, *map(_show, values, is_selected))

    for model in evaluation.metrics:
        add_row(model, model, "")
        if evaluation.n_users_liking:
            add_row("  liked", model, LIKED)
    return table


def tabulate_makeup(report: EvaluationReport, k: int) -> Table:
    """What lists of length ``k`` are made of: one line a model."""
    table = _start_table(f"what lists of {k} are made of")
    _add_columns(table, ["model", *CATALOGUE_METRICS])
    for model in report.evaluation.metrics:
        values = (report.evaluation.find(model, name, k) for name in CATALOGUE_METRICS)
        table.add_row(model, *(_show(value, False) for value in values))
    return table


def _describe_liking(report: EvaluationReport) -> str:
    """What the title says of liking: from which rating on and how many users, or why not."""
    liking = report.liking
    if liking is None:
        return f"; relevant: rated {report.config.min_relevant_rating:g} or more"
    if liking.left_out is not None:
        return f"; what is liked is left out: {liking.left_out}"
    return (
        f"; liked: rated {liking.min_rating:g} or more, {report.evaluation.n_users_liking:,} users"
    )


def _start_table(title: str) -> Table:
    """Without vertical lines: seven columns then fit a terminal of 80."""
    return Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )


def _add_columns(table: Table, names: Sequence[str]) -> None:
    """A column for each name, whose words stand below each other."""
    for name in names:
        is_figure = name != "model"
        table.add_column(
            name.replace("_", "\n"), justify="right" if is_figure else "left", no_wrap=True
        )


def tabulate_predictions(report: EvaluationReport) -> Table | None:
    """RMSE and MAE of the models that predict ratings; None where none does."""
    table = _start_table("predictions of held-out ratings")
    _add_columns(table, ["model", *PREDICTION_METRICS])
    for model, values in report.evaluation.metrics.items():
        by_name = {value.metric: value for value in values if value.k is None}
        if by_name:
            table.add_row(model, *(_show(by_name[name], True) for name in PREDICTION_METRICS))
    return table if table.rows else None


def _show(value: MetricValue, with_interval: bool) -> str:
    text = f"{value.value:.4f}" if abs(value.value) < 10 else f"{value.value:,.0f}"
    if with_interval and value.low is not None:
        text += f" ({value.low:.3f}-{value.high:.3f})"
    return text


def write_evaluation(report: EvaluationReport, directory: Path) -> None:
    """Write the table as Parquet and the whole account as JSON.

    Raises:
        JobError: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        report.to_table().to_parquet(directory / _TABLE_FILE, index=False)
        text = json.dumps(report.describe(), indent=2, allow_nan=False)
        (directory / _JSON_FILE).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise JobError(f"--output {directory}: cannot be written: {error.strerror}") from None
