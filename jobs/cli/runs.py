"""``runs``, ``rollback`` and ``report``: what there is in an output."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.options import (
    config_options,
    exits_with_one_line,
    load_settings,
    locate_run,
    opened_spark,
    run_option,
)
from jobs.errors import ConfigError, JobError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.settings.config import SparkConfig
    from jobs.storage.base import Storage


@click.command()
@config_options
@exits_with_one_line
def runs(config_file: Path, overrides: tuple[str, ...]) -> None:
    """List the runs in output.path, the latest first."""
    from jobs.process.terminal import print_table
    from jobs.runs.listing import tabulate_runs
    from jobs.runs.records import list_runs

    config = load_settings(config_file, overrides)
    output, table = config.output.path, config.publish.table
    with _opened_output(output, table, config.spark) as (storage, _):
        records = list_runs(storage)
    if not records:
        click.echo(f"no runs in {storage.root}")
        return
    print_table(tabulate_runs(records))


@click.command()
@click.argument("run_id")
@config_options
@exits_with_one_line
def rollback(run_id: str, config_file: Path, overrides: tuple[str, ...]) -> None:
    """Make an earlier run in output.path current again, in one step."""
    from jobs.runs.current import lead_readers
    from jobs.runs.lock import hold_output, prepare_output
    from jobs.runs.records import find_published

    config = load_settings(config_file, overrides)
    output, table = config.output.path, config.publish.table
    with (
        _opened_output(output, table, config.spark) as (storage, spark),
        hold_output(storage, "rollback"),
    ):
        run = find_published(storage, run_id)
        prepare_output(storage)
        lead_readers(spark, storage, run, table)
    click.echo(f"{storage.root}/current is run {run.run_id}")


@click.command()
@run_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="report.html",
    show_default=True,
    help="Where the page goes.",
)
@config_options
@exits_with_one_line
def report(run: str | None, output: Path, config_file: Path, overrides: tuple[str, ...]) -> None:
    """Make the page of a run in output.path, on this machine's disk, anew. Without Spark."""
    from jobs.report.page import render_report
    from jobs.report.read_run import read_report
    from jobs.runs.records import find_run
    from jobs.storage.local import LocalStorage, local_path

    output_path, run_id = locate_run(run, load_settings(config_file, overrides).output.path)
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
def _opened_output(
    path: str, table: str | None, config: "SparkConfig"
) -> "Iterator[tuple[Storage, SparkSession | None]]":
    """The output at a path; a JVM is started only where it takes one to reach it, or the table."""
    from jobs.process.failures import explain_disk_failures
    from jobs.storage.local import LocalStorage, local_path

    local = local_path(path)
    if local is not None and table is None:
        with explain_disk_failures():
            yield LocalStorage(local), None
        return
    from jobs.storage.open import open_storage

    with opened_spark(config, metastore=table is not None) as spark:
        yield open_storage(spark, path), spark
