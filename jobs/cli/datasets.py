"""``sample`` and ``fetch``."""

from pathlib import Path

import click

from jobs.cli.options import exits_with_one_line
from jobs.datasets.public import DATA_SETS
from jobs.errors import ConfigError, JobError


@click.command()
@click.option("--users", type=click.IntRange(min=1), default=600, show_default=True)
@click.option("--items", type=click.IntRange(min=1), default=1_000, show_default=True)
@click.option("--ratings", type=click.IntRange(min=1), default=60_000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=".sample", show_default=True)
@exits_with_one_line
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


@click.command()
@click.argument("data_set", type=click.Choice(list(DATA_SETS)))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The directory it becomes.  "
    f"[default: {' or '.join(known.directory for known in DATA_SETS.values())}]",
)
@exits_with_one_line
def fetch(data_set: str, output: Path | None) -> None:
    """Download public ratings from their publisher, and say how to run with them."""
    from jobs.datasets.fetch import fetch_data_set

    wanted = DATA_SETS[data_set]
    fetch_data_set(wanted, output or Path(wanted.directory))
