"""The commands behind ``./spark-submit.sh``.

Each imports what it needs when it runs, so that the quick ones stay quick.
"""

import contextlib
import importlib.util
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.errors import ConfigError, JobError, MachineError
from jobs.process.checkout import CONF
from jobs.process.clock import is_json_log
from jobs.process.stop import Stopped, stops_on_sigterm
from jobs.process.terminal import printable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.process.clock import LogFormat
    from jobs.settings.config import Config
    from jobs.storage.base import Storage

logger = logging.getLogger(__name__)


_DEFAULT_CONFIG = CONF / "sample.toml"


def _exits_with_one_line(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a JobError, or a stop from outside, into one line on stderr and its exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (JobError, Stopped) as error:
            if is_json_log():
                logger.error("%s", error)
            else:
                click.echo(f"error: {printable(error)}", err=True)
            sys.exit(error.exit_code)
        except Exception as error:
            if not is_json_log():
                raise
            # Where, not what: the message of an error nobody foresaw may quote ratings.
            trace = traceback.format_tb(error.__traceback__)
            logger.error("unexpected %s", type(error).__name__, extra={"traceback": trace})
            sys.exit(JobError.exit_code)

    return run


def _config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--config`` and ``--set``, as in every command that reads settings."""
    command = click.option(
        "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override a setting."
    )(command)
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        default=_DEFAULT_CONFIG,
        help="Settings, a TOML file.  [default: the built-in sample's]",
    )(command)


def _nightly_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option(
        "--metrics-file",
        type=click.Path(path_type=Path),
        help="Write last success, duration and rows here, for Prometheus' node exporter.",
    )(command)
    command = click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="How the log is written; json prints nothing else.",
    )(command)
    command = click.option(
        "--changed-only",
        is_flag=True,
        help="With --reuse-model: score only new users and those whose ratings have changed.",
    )(command)
    command = click.option(
        "--reuse-model",
        is_flag=True,
        help="Train nothing; score with the model of the current run.",
    )(command)
    command = click.option(
        "--promote", is_flag=True, help="Make the run current even if its date is earlier."
    )(command)
    command = click.option(
        "--force", is_flag=True, help="Publish even against the gate; the manifest says so."
    )(command)
    command = click.option(
        "--dry-run",
        is_flag=True,
        help="Print sizes, memory and blocks; end with 3 if they cannot fit.",
    )(command)
    command = click.option(
        "--run-date", metavar="YYYY-MM-DD", help="Date of the run.  [default: today in UTC]"
    )(command)
    return _config_options(command)


_run_option = click.option(
    "--run",
    metavar="RUN",
    help="A run: its id, or its directory, as OUT/current.  [default: output.path's current one]",
)


def _locate_run(run: str | None, output: str) -> tuple[str, str | None]:
    """The output that a run lies in and its id; None for the current run of ``output``.

    Args:
        run: an id of a run in ``output``, or the directory of any.
    """
    from jobs.runs.run import RUN_ID

    if run is None or RUN_ID.fullmatch(run):
        return output, run
    place = Path(run).resolve()  # one look at the link
    if not RUN_ID.fullmatch(place.name):
        raise ConfigError(f"--run {run}: neither a run's id nor its directory, as OUT/current")
    return str(place.parent.parent), place.name


def _load(config_file: Path, overrides: tuple[str, ...]) -> "Config":
    from jobs.settings.toml import load_config

    return load_config(config_file, overrides)


def _parse_run_date(text: str | None) -> date:
    if text is None:
        return datetime.now(UTC).date()
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise ConfigError(f"--run-date {text}: expected a date as YYYY-MM-DD") from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Nightly recommendations on Spark."""


@main.command()
@_nightly_options
@_exits_with_one_line
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
    from jobs.process.clock import set_up_logging
    from jobs.process.failures import explain_failures
    from jobs.process.prometheus import report_metrics

    set_up_logging(log_format)
    day = _parse_run_date(run_date)
    # A dry run publishes nothing: it is no run to those who read the figures.
    metrics = report_metrics(None if dry_run else metrics_file, day)
    with stops_on_sigterm(), metrics as figures:
        config, choices = _load(config_file, overrides), Choices(**flags)
        from jobs.machine.session import open_session
        from jobs.night.night import plan_night, run_nightly

        with explain_failures():
            spark = open_session(config.spark, metastore=config.publish.table is not None)
            try:
                if dry_run:
                    plan_night(spark, config, choices)
                else:
                    figures.rows = run_nightly(spark, config, day, choices).manifest["rows"]
            finally:
                spark.stop()


@main.command(hidden=True)
@_nightly_options
@_exits_with_one_line
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
    from jobs.process.clock import set_up_logging
    from jobs.process.prometheus import report_metrics

    set_up_logging(log_format)
    day = _parse_run_date(run_date)
    with report_metrics(None if dry_run else metrics_file, day, only_failure=True):
        _load(config_file, overrides)
        Choices(**flags)


@main.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Choice(["nmf", "mf", "als", "ease"]),
    help="What to measure; several are compared.  [default: train.model, or its candidates]",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Also write the results in this directory."
)
@_config_options
@_exits_with_one_line
def evaluate(
    models: tuple[str, ...], output: Path | None, config_file: Path, overrides: tuple[str, ...]
) -> None:
    """Measure models on ratings held out of their training, beside popularity and item means."""
    from jobs.process.clock import set_up_logging

    set_up_logging()
    config = _load(config_file, overrides)
    from jobs.experiments.bring_ratings import measure_models
    from jobs.experiments.evaluation_table import (
        tabulate_lists,
        tabulate_predictions,
        write_evaluation,
    )
    from jobs.night.summary import print_table

    with _opened_spark(config) as spark:
        report = measure_models(spark, config, models or config.train.models)
    for k in config.evaluate.cutoffs:
        print_table(tabulate_lists(report, k))
    predictions = tabulate_predictions(report)
    if predictions is not None:
        print_table(predictions)
    if output is not None:
        write_evaluation(report, output)


@main.command()
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Settings tried of each model.  [default: tune.trials]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="output/tuning",
    show_default=True,
    help="Where table, plot and best settings go.",
)
@_config_options
@_exits_with_one_line
def tune(trials: int | None, output: Path, config_file: Path, overrides: tuple[str, ...]) -> None:
    """Search for better settings; write them as a configuration for nightly."""
    from jobs.process.clock import set_up_logging

    set_up_logging()
    config = _load(config_file, overrides)
    for package in ("optuna", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise MachineError(f"tune needs {package}: pip install 'recsys-nightly[tune]'")
    from jobs.experiments.bring_ratings import tune_settings
    from jobs.experiments.tuning_report import require_directory, tabulate_tuning, write_tuning
    from jobs.night.summary import print_table

    require_directory(output)
    with _opened_spark(config) as spark:
        tuning = tune_settings(spark, config, trials or config.tune.trials)
    write_tuning(tuning, output)
    print_table(tabulate_tuning(tuning))
    click.echo(f"best settings: {output}/best.toml; all trials: {output}/trials.parquet, .png")


@contextlib.contextmanager
def _opened_spark(config: "Config") -> "Iterator[SparkSession]":
    from jobs.machine.session import open_session
    from jobs.process.failures import explain_failures

    with explain_failures():
        spark = open_session(config.spark)
        try:
            yield spark
        finally:
            spark.stop()


@main.command()
@_config_options
@_exits_with_one_line
def runs(config_file: Path, overrides: tuple[str, ...]) -> None:
    """List the runs in output.path, the latest first."""
    from jobs.night.summary import print_table
    from jobs.runs.listing import tabulate_runs
    from jobs.runs.records import list_runs

    with _opened_output(_load(config_file, overrides)) as (storage, _):
        records = list_runs(storage)
    if not records:
        click.echo(f"no runs in {storage.root}")
        return
    print_table(tabulate_runs(records))


@main.command()
@click.argument("run_id")
@_config_options
@_exits_with_one_line
def rollback(run_id: str, config_file: Path, overrides: tuple[str, ...]) -> None:
    """Make an earlier run in output.path current again, in one step."""
    from jobs.night.release import lead_readers
    from jobs.runs.records import find_published, hold_output, prepare_output

    config = _load(config_file, overrides)
    with _opened_output(config) as (storage, spark), hold_output(storage, "rollback"):
        run = find_published(storage, run_id)
        prepare_output(storage)
        lead_readers(spark, config, storage, run)
    click.echo(f"{storage.root}/current is run {run.run_id}")


@main.command()
@_run_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="report.html",
    show_default=True,
    help="Where the page goes.",
)
@_config_options
@_exits_with_one_line
def report(run: str | None, output: Path, config_file: Path, overrides: tuple[str, ...]) -> None:
    """Make the page of a run in output.path, on this machine's disk, anew. Without Spark."""
    from jobs.report.page import render_report
    from jobs.report.read_run import find_run, read_report
    from jobs.storage.base import LocalStorage, local_path

    output_path, run_id = _locate_run(run, _load(config_file, overrides).output.path)
    place = local_path(output_path)
    if place is None:
        raise ConfigError(
            f"output.path = '{output_path}': report reads runs on this machine's disk; a "
            "run elsewhere has its report.html in it already"
        )
    storage = LocalStorage(place)
    page = render_report(read_report(storage, find_run(storage, run_id)))
    try:
        output.write_bytes(page)
    except OSError as error:
        raise JobError(f"--output {output}: cannot be written: {error.strerror}") from None
    click.echo(f"wrote {output} ({len(page) / 1e6:.1f} MB)")


@contextlib.contextmanager
def _opened_output(config: "Config") -> "Iterator[tuple[Storage, SparkSession | None]]":
    """The output of a configuration; a JVM is started only where it takes one to reach it."""
    from jobs.process.failures import explain_failures
    from jobs.storage.base import LocalStorage, local_path, open_storage

    local = local_path(config.output.path)
    with explain_failures():
        if local is not None and config.publish.table is None:
            yield LocalStorage(local), None
            return
        from jobs.machine.session import open_session

        spark = open_session(config.spark, metastore=config.publish.table is not None)
        try:
            yield open_storage(spark, config.output.path), spark
        finally:
            spark.stop()


@main.command()
@click.option("--user", help="Id of a user.")
@click.option("--item", help="Title or id of an item.")
@_run_option
@_config_options
@_exits_with_one_line
def show(
    user: str | None,
    item: str | None,
    run: str | None,
    config_file: Path,
    overrides: tuple[str, ...],
) -> None:
    """Tell what a published run says of a user or an item. Without Spark."""
    from jobs.ask.show import describe_item, describe_user, open_by_id, open_current, open_run
    from jobs.runs.run import RUN_ID

    if (user is None) == (item is None):
        raise ConfigError("show takes either --user or --item")
    output = _load(config_file, overrides).output.path
    if run is None:
        tables = open_current(output)
    else:
        tables = open_by_id(output, run) if RUN_ID.fullmatch(run) else open_run(Path(run))
    lines = describe_item(tables, item) if item is not None else describe_user(tables, str(user))
    for line in [*lines]:  # nothing is printed of a run that does not know them
        click.echo(line)


@main.command()
@_config_options
@_exits_with_one_line
def config(config_file: Path, overrides: tuple[str, ...]) -> None:
    """Print the resolved settings, each with its description."""
    from jobs.settings.listing import list_settings

    for line in list_settings(_load(config_file, overrides)):
        click.echo(line)


@main.command()
@click.option("--force", is_flag=True, help="Build the archive anew where there is one.")
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Sessions to time without the archive, and with it.",
)
@click.option("--archive", hidden=True, default="")
@_exits_with_one_line
def warmup(force: bool, runs: int, archive: str) -> None:
    """Build, once, an archive of Spark's classes that halves the start of later runs."""
    from jobs.machine.warmup import warm_up

    if not archive:
        raise MachineError(
            "no cache directory for the archive: set XDG_CACHE_HOME to an absolute path "
            'without any of " \\ , :'
        )
    warm_up(Path(archive), force=force, runs=runs)


@main.command()
@click.option("--users", type=click.IntRange(min=1), default=600, show_default=True)
@click.option("--items", type=click.IntRange(min=1), default=1_000, show_default=True)
@click.option("--ratings", type=click.IntRange(min=1), default=60_000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=".sample", show_default=True)
@_exits_with_one_line
def sample(users: int, items: int, ratings: int, seed: int, output: Path) -> None:
    """Generate MovieLens-shaped ratings with planted genres."""
    from jobs.datasets.sample import write_sample

    try:
        write_sample(output, users=users, items=items, ratings=ratings, seed=seed)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise JobError(f"--output {output}: cannot be written: {error.strerror}") from None
    click.echo(f"wrote {output}/ratings.csv and {output}/movies.csv")


@main.command()
@click.argument("data_set", type=click.Choice(["movielens-small", "movielens-25m", "goodbooks"]))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The directory it becomes.  [default: ml-latest-small, ml-25m or goodbooks-10k]",
)
@_exits_with_one_line
def fetch(data_set: str, output: Path | None) -> None:
    """Download public ratings from their publisher, and say how to run with them."""
    from jobs.datasets.fetch import DATA_SETS, fetch_data_set

    wanted = DATA_SETS[data_set]
    fetch_data_set(wanted, output or Path(wanted.directory))


_model_option = click.option(
    "--model",
    "directory",
    type=click.Path(path_type=Path),
    required=True,
    help="A run's model, as OUT/current/model.",
)
_k_option = click.option("-k", type=int, default=10, show_default=True, help="Length of the list.")


@main.command()
@_model_option
@click.option("--query", help='Ratings as JSON, {"Toy Story (1995)": 5}, or a file of it.')
@click.option("--rate", "rates", multiple=True, metavar="ITEM=RATING", help="One rating.")
@_k_option
@click.option("--explain", is_flag=True, help="Say which of the ratings brought each item up.")
@_exits_with_one_line
def recommend(
    directory: Path, query: str | None, rates: tuple[str, ...], k: int, explain: bool
) -> None:
    """List what somebody with these ratings would be recommended. Without Spark."""
    from jobs.ask.recommend import format_list, read_query
    from jobs.runs.model_files import load_model
    from recsys_core.query.recommender import recommend_resolved, resolve_query

    ratings = read_query(query, rates)
    model = load_model(directory)
    with _query_errors():
        resolved = resolve_query(ratings, model)
        items = recommend_resolved(resolved, model, k, explain=explain)
    for line in resolved.ignored:
        click.echo(f"ignored: {printable(line)}", err=True)
    for line in format_list(items):
        click.echo(line)


@main.command()
@_model_option
@click.option("--item", required=True, help="Title or id of an item.")
@_k_option
@_exits_with_one_line
def similar(directory: Path, item: str, k: int) -> None:
    """List the items nearest to one. Without Spark."""
    from jobs.ask.recommend import format_similar
    from jobs.runs.model_files import load_model
    from recsys_core.query.recommender import find_similar

    model = load_model(directory)
    with _query_errors():
        items = find_similar(item, model, k)
    for line in format_similar(items):
        click.echo(line)


@main.command()
@_model_option
@click.option("--user", help="Also show this user's row, factors and reconstruction.")
@_exits_with_one_line
def inspect(directory: Path, user: str | None) -> None:
    """Look inside a model: P, Q, R, the error, the factors. Without Spark."""
    from jobs.ask.inspect import describe_saved_model, describe_user, read_user_ratings
    from jobs.runs.model_files import load_model

    model = load_model(directory)
    for line in describe_saved_model(model):
        click.echo(line)
    if user is not None:
        click.echo("")
        for line in describe_user(model, read_user_ratings(model, user), user):
            click.echo(line)


@main.command()
@click.option(
    "--model",
    "directories",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="A run's model; several are compared.",
)
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    default=CONF / "personas.toml",
    help="The personas.  [default: conf/personas.toml]",
)
@_k_option
@_exits_with_one_line
def personas(directories: tuple[Path, ...], file: Path, k: int) -> None:
    """Ask models for the lists of typical users, and score them. Without Spark."""
    from rich.console import Console

    from jobs.ask.personas import (
        ask_persona,
        compare_models,
        describe_model,
        list_result,
        load_personas,
    )
    from jobs.runs.model_files import load_model

    people = load_personas(file)
    models = [load_model(directory) for directory in directories]
    with _query_errors():
        results = [[ask_persona(persona, model, k) for persona in people] for model in models]
    if len(models) == 1:
        for result in results[0]:
            for line in list_result(result):
                click.echo(printable(line))
    Console(width=100).print(
        compare_models([describe_model(model) for model in models], results, k)
    )


@contextlib.contextmanager
def _query_errors() -> Iterator[None]:
    from recsys_core.errors import QueryError

    try:
        yield
    except QueryError as error:
        raise ConfigError(str(error)) from None


if __name__ == "__main__":
    logging.captureWarnings(True)
    main(prog_name="spark-submit.sh")
