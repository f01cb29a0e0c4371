"""What several commands share: options, and how an error ends one."""

import contextlib
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.errors import ConfigError, JobError
from jobs.process.checkout import CONF
from jobs.process.log import is_json_log
from jobs.process.stop import Stopped
from jobs.process.terminal import printable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.settings.config import Config, SparkConfig

logger = logging.getLogger(__name__)


def exits_with_one_line(command: Callable[..., Any]) -> Callable[..., Any]:
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


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--config`` and ``--set``, as in every command that reads settings."""
    command = click.option(
        "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override a setting."
    )(command)
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        default=CONF / "sample.toml",
        help="Settings, a TOML file.  [default: the built-in sample's]",
    )(command)


run_option = click.option(
    "--run",
    metavar="RUN",
    help="A run: its id, or its directory, as OUT/current.  [default: output.path's current one]",
)


def locate_run(run: str | None, output: str) -> tuple[str, str | None]:
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


def load_settings(config_file: Path, overrides: tuple[str, ...]) -> "Config":
    """The settings of a command. ConfigError where they are not sound."""
    from jobs.settings.toml import load_config

    return load_config(config_file, overrides)


@contextlib.contextmanager
def opened_spark(config: "SparkConfig", *, metastore: bool = False) -> "Iterator[SparkSession]":
    """A Spark session for the body, whose failures end in one line. Starts a JVM.

    Args:
        metastore: whether tables of the Hive metastore are needed.
    """
    from jobs.machine.session import open_session
    from jobs.process.failures import explain_failures

    with explain_failures():
        spark = open_session(config, metastore=metastore)
        try:
            yield spark
        finally:
            spark.stop()
