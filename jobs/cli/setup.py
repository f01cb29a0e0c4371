"""``config`` and ``warmup``."""

from pathlib import Path

import click

from jobs.cli.options import config_options, exits_with_one_line, load_settings
from jobs.errors import MachineError


@click.command()
@config_options
@exits_with_one_line
def config(config_file: Path, overrides: tuple[str, ...]) -> None:
    """Print the resolved settings, each with its description."""
    from jobs.settings.toml import list_settings

    click.echo(list_settings(load_settings(config_file, overrides)), nl=False)


@click.command()
@click.option("--force", is_flag=True, help="Build the archive anew where there is one.")
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Sessions to time without the archive, and with it.",
)
@click.option("--archive", hidden=True, default="")
@exits_with_one_line
def warmup(force: bool, runs: int, archive: str) -> None:
    """Build, once, an archive of Spark's classes that halves the start of later runs."""
    from jobs.machine.warmup import warm_up

    if not archive:
        raise MachineError(
            "no cache directory for the archive: set XDG_CACHE_HOME to an absolute path "
            'without any of " \\ , :'
        )
    warm_up(Path(archive), force=force, runs=runs)
