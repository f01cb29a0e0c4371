"""``show``, ``recommend``, ``similar``, ``inspect`` and ``personas``: what a run or model says."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from jobs.cli.options import config_options, exits_with_one_line, load_settings, run_option
from jobs.errors import ConfigError
from jobs.process.checkout import CONF
from jobs.process.terminal import printable

_model_option = click.option(
    "--model",
    "directory",
    type=click.Path(path_type=Path),
    required=True,
    help="A run's model, as OUT/current/model.",
)
_k_option = click.option("-k", type=int, default=10, show_default=True, help="Length of the list.")


@click.command()
@click.option("--user", help="Id of a user.")
@click.option("--item", help="Title or id of an item.")
@run_option
@config_options
@exits_with_one_line
def show(
    user: str | None,
    item: str | None,
    run: str | None,
    config_file: Path,
    overrides: tuple[str, ...],
) -> None:
    """Tell what a published run says of a user or an item. Without Spark."""
    from jobs.ask.published_tables import open_by_id, open_current, open_run
    from jobs.ask.show_item import describe_item
    from jobs.ask.show_user import describe_user
    from jobs.runs.run import RUN_ID

    if (user is None) == (item is None):
        raise ConfigError("show takes either --user or --item")
    output = load_settings(config_file, overrides).output.path
    if run is None:
        tables = open_current(output)
    else:
        tables = open_by_id(output, run) if RUN_ID.fullmatch(run) else open_run(Path(run))
    lines = describe_item(tables, item) if item is not None else describe_user(tables, str(user))
    for line in [*lines]:  # nothing is printed of a run that does not know them
        click.echo(line)


@click.command()
@_model_option
@click.option("--query", help='Ratings as JSON, {"Toy Story (1995)": 5}, or a file of it.')
@click.option("--rate", "rates", multiple=True, metavar="ITEM=RATING", help="One rating.")
@_k_option
@click.option("--explain", is_flag=True, help="Say which of the ratings brought each item up.")
@exits_with_one_line
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


@click.command()
@_model_option
@click.option("--item", required=True, help="Title or id of an item.")
@_k_option
@exits_with_one_line
def similar(directory: Path, item: str, k: int) -> None:
    """List the items nearest to one. Without Spark."""
    from jobs.ask.similar import format_similar
    from jobs.runs.model_files import load_model
    from recsys_core.query.recommender import find_similar

    model = load_model(directory)
    with _query_errors():
        items = find_similar(item, model, k)
    for line in format_similar(items):
        click.echo(line)


@click.command()
@_model_option
@click.option("--user", help="Also show this user's row, factors and reconstruction.")
@exits_with_one_line
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


@click.command()
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
@exits_with_one_line
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
