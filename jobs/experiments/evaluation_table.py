"""An evaluation as tables for the terminal, and as files."""

import json
from pathlib import Path

from rich.table import Table

from jobs.errors import JobError
from jobs.stages.evaluate import EvaluationReport
from recsys_core.evaluation.comparison import MetricValue
from recsys_core.evaluation.metric_names import PREDICTION_METRICS

_TABLE_FILE, _JSON_FILE = "evaluation.parquet", "evaluation.json"


def tabulate_lists(report: EvaluationReport, k: int) -> Table:
    """One line a model: its metrics of lists of length ``k``, the one selected by with interval."""
    evaluation, (selected, _) = report.evaluation, report.config.metric
    table = Table(title=f"lists of {k}, {evaluation.n_users:,} users", title_justify="left")
    table.add_column("model", no_wrap=True)
    first = next(iter(evaluation.metrics.values()))
    names = [value.metric for value in first if value.k == k]
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for model in evaluation.metrics:
        values = [evaluation.find(model, name, k) for name in names]
        table.add_row(model, *(_show(value, value.metric == selected) for value in values))
    return table


def tabulate_predictions(report: EvaluationReport) -> Table | None:
    """RMSE and MAE of the models that predict ratings; None where none does."""
    table = Table(title="predictions of held-out ratings", title_justify="left")
    for name in ("model", *PREDICTION_METRICS):
        table.add_column(name, justify="left" if name == "model" else "right")
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
