"""``nightly``, and the check of what it is given."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.options import config_options, exits_with_one_line, load_settings, opened_spark
from jobs.errors import ConfigError
from jobs.process.stop import stops_on_sigterm

if TYPE_CHECKING:
    from jobs.process.log import LogFormat


_OPTIONS = (
    config_options,
    click.option(
        "--run-date", metavar="YYYY-MM-DD", help="Date of the run.  [default: today in UTC]"
    ),
    click.option(
        "--dry-run",
        is_flag=True,
        help="Print sizes, memory and blocks; end with 3 if they cannot fit.",
    ),
    click.option(
        "--force", is_flag=True, help="Publish even against the gate; the manifest says so."
    ),
    click.option(
        "--promote", is_flag=True, help="Make the run current even if its date is earlier."
    ),
    click.option(
        "--reuse-model",
        is_flag=True,
        help="Train nothing; score with the model of the current run.",
    ),
    click.option(
        "--changed-only",
        is_flag=True,
        help="With --reuse-model: score only new users and those whose ratings have changed.",
    ),
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="How the log is written; json prints nothing else.",
    ),
    click.option(
        "--metrics-file",
        type=click.Path(path_type=Path),
        help="Write last success, duration and rows here, for Prometheus' node exporter.",
    ),
)
"""In the order in which ``--help`` lists them."""


def _nightly_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _parse_run_date(text: str | None) -> date:
    if text is None:
        return datetime.now(UTC).date()
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise ConfigError(f"--run-date {text}: expected a date as YYYY-MM-DD") from None


@click.command()
@_nightly_options
@exits_with_one_line
def nightly(
    config_file: Path,
    overrides: tuple[str, ...],
    run_date: str | None,
    dry_run: bool,
    log_format: "LogFormat",
    metrics_file: Path | None,
    **flags: bool,
) -> None:
    """Read ratings, train, score everyone, publish. Runs under spark-submit."""
    from jobs.night.choices import Choices
    from jobs.process.log import set_up_logging
    from jobs.process.prometheus import report_metrics

    set_up_logging(log_format)
    day = _parse_run_date(run_date)
    # A dry run publishes nothing: it is no run to those who read the figures.
    metrics = report_metrics(None if dry_run else metrics_file, day)
    with stops_on_sigterm(), metrics as figures:
        config, choices = load_settings(config_file, overrides), Choices(**flags)
        from jobs.night.night import plan_night, run_nightly

        with opened_spark(config.spark, metastore=config.publish.table is not None) as spark:
            if dry_run:
                plan_night(spark, config, choices)
            else:
                figures.rows = run_nightly(spark, config, day, choices).manifest["rows"]


@click.command(hidden=True)
@_nightly_options
@exits_with_one_line
def check(
    config_file: Path,
    overrides: tuple[str, ...],
    run_date: str | None,
    dry_run: bool,
    log_format: "LogFormat",
    metrics_file: Path | None,
    **flags: bool,
) -> None:
    """Validate what ``nightly`` would be given, before a JVM is started for it."""
    from jobs.night.choices import Choices
    from jobs.process.log import set_up_logging
    from jobs.process.prometheus import report_metrics

    set_up_logging(log_format)
    day = _parse_run_date(run_date)
    with report_metrics(None if dry_run else metrics_file, day, only_failure=True):
        load_settings(config_file, overrides)
        Choices(**flags)
