"""What a search for settings found: a table, a plot, and a configuration."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from jobs.errors import JobError
from jobs.experiments.tune import CONFIGURED, TUNED, Tuning
from jobs.settings.base import Section
from jobs.settings.models.base import SearchRange
from jobs.settings.toml import list_settings

_TABLE_FILE, _PLOT_FILE, _BEST_FILE = "trials.parquet", "trials.png", "best.toml"


def tabulate_tuning(tuning: Tuning) -> Table:
    """One line a model: before and after, on ratings the search did not see, and its settings."""
    table = Table(title=f"{tuning.searched.metric} on held-out ratings", title_justify="left")
    for name in ("model", CONFIGURED, TUNED, "gain (95% interval)", "best settings"):
        table.add_column(name)
    models = tuning.trials["model"].unique().tolist()
    for model in models:
        section = tuning.best.section(model)
        searched = ", ".join(
            f"{name} = {getattr(section, name):.4g}"
            if isinstance(getattr(section, name), float)
            else f"{name} = {getattr(section, name)}"
            for name in tuning.searched.space(model)
        )
        table.add_row(
            model,
            *_describe_gain(tuning, model),
            searched,
        )
    return table


def _describe_gain(tuning: Tuning, model: str) -> list[str]:
    """The metric before and after, and the difference; dashes for what could not be trained."""
    metric, k = tuning.searched.measured
    measured = [
        f"{tuning.evaluation.find(name, metric, k).value:.4f}"
        if name in tuning.evaluation.metrics
        else "-"
        for name in (f"{model}, {CONFIGURED}", f"{model}, {TUNED}")
    ]
    if "-" in measured:
        return [*measured, "-"]
    gain, low, high = tuning.evaluation.compare(
        f"{model}, {TUNED}", f"{model}, {CONFIGURED}", metric, k
    )
    return [*measured, f"{gain:+.4f} ({low:+.4f} to {high:+.4f})"]


def require_directory(directory: Path) -> None:
    """Make the directory before the search is begun.

    Raises:
        JobError: it cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / _BEST_FILE).touch()
    except OSError as error:
        raise JobError(f"--output {directory}: cannot be written: {error.strerror}") from None


def write_tuning(tuning: Tuning, best: Section, directory: Path) -> None:
    """Write the trials as Parquet and as a plot, and the best settings as TOML for ``--config``.

    Args:
        best: all settings, with those of ``tuning.best`` for ``train.*``.
    """
    tuning.trials.to_parquet(directory / _TABLE_FILE, index=False)
    _plot_trials(tuning, directory / _PLOT_FILE)
    (directory / _BEST_FILE).write_text(list_settings(best), encoding="utf-8")


def _plot_trials(tuning: Tuning, file: Path) -> None:
    """A row a model: its trials in order with the best so far, then against each setting."""
    from matplotlib.figure import Figure  # without pyplot there is no display to find

    models = tuning.trials["model"].unique().tolist()
    searched = {model: [*tuning.searched.space(model)] for model in models}
    n_columns = 1 + max(len(names) for names in searched.values())
    figure = Figure(figsize=(3.2 * n_columns, 2.8 * len(models)), layout="constrained")
    axes = figure.subplots(len(models), n_columns, squeeze=False, sharey="row")
    for row, model in zip(axes, models, strict=True):
        trials = tuning.trials[tuning.trials["model"] == model]
        _plot_progress(row[0], trials, model, tuning)
        for axis, name in zip(row[1:], searched[model], strict=False):
            axis.scatter(trials[f"{model}.{name}"], trials["value"], s=14)
            axis.set_xlabel(name)
            _show_range(axis, tuning.searched.space(model)[name])
        for axis in row[1 + len(searched[model]) :]:
            axis.set_axis_off()
    figure.savefig(file, dpi=120)


def _show_range(axis: Any, search: SearchRange) -> None:
    """The whole range that was searched, on its scale."""
    from matplotlib.ticker import NullFormatter

    if search.choices is None:
        axis.set_xlim(search.low, search.high)
    if search.log:
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter(NullFormatter())  # where there are decades, they are enough


def _plot_progress(axis: Any, trials: pd.DataFrame, model: str, tuning: Tuning) -> None:
    best = trials["value"].cummin() if tuning.searched.minimizes else trials["value"].cummax()
    axis.scatter(trials["trial"], trials["value"], s=14)
    axis.step(trials["trial"], best, where="post")
    axis.set_title(model)
    axis.set_xlabel("trial; line: best so far")
    axis.set_ylabel(tuning.searched.metric)
