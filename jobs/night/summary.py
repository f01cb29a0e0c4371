"""What the person at the terminal sees when a run is published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rich.table import Table
from rich.text import Text

from jobs.process.terminal import open_console, printable
from jobs.tables.columns import ITEM_ID, RANK, USER_ID
from recsys_core.items.catalog import ItemCatalog

_SHOWN_USERS = 3
_SHOWN_RANKS = 5


@dataclass(frozen=True)
class UserList:
    """The top of one user's published list."""

    user_id: int | str
    titles: list[str]


def pick_lists(written: DataFrame, catalog: ItemCatalog) -> list[UserList]:
    """The tops of the first few users' lists; an item without a title stands as its id."""
    top = written.where(F.col(RANK) <= _SHOWN_RANKS).orderBy(USER_ID, RANK)
    lists: dict[int | str, UserList] = {}
    for user, item in top.select(USER_ID, ITEM_ID).head(_SHOWN_USERS * _SHOWN_RANKS):
        if user in lists or len(lists) < _SHOWN_USERS:
            lists.setdefault(user, UserList(user, [])).titles.append(_find_title(catalog, item))
    return list(lists.values())


def _find_title(catalog: ItemCatalog, item_id: int | str) -> str:
    """An item's title; its id where it has none, or is not in the catalogue."""
    index = catalog.index.get(item_id)
    title = catalog.titles[index] if index is not None else None
    return title or str(item_id)


def print_summary(
    manifest: Mapping[str, Any],
    lists: Sequence[UserList],
    *,
    output: str,
    run_directory: str,
    has_link: bool,
) -> None:
    """Print funnel, stage times, some lists, and how to read the output.

    Args:
        has_link: whether readers find ``current`` in the output, not only ``CURRENT.json``.
    """
    console = open_console()
    console.print(_funnel_table(manifest["funnel"]))
    console.print(_seconds_table(manifest["stage_seconds"]))
    console.print(Text(_describe_training(manifest["training"])))
    if manifest["evaluation"] is not None:
        console.print(Text(_describe_evaluation(manifest["evaluation"])))
    for user in lists:
        titles = "; ".join(
            f"{rank}. {printable(title)}" for rank, title in enumerate(user.titles, 1)
        )
        console.print(Text(f"user {printable(user.user_id)}: {titles}"))
    console.print()
    n_rows = manifest["rows"]["recommendations"]
    console.print(Text(f"Published {n_rows:,} recommendations: {run_directory}"))
    for line in _tell_how_to_read(output, run_directory, has_link=has_link):
        console.print(Text(line))


def _tell_how_to_read(output: str, run_directory: str, *, has_link: bool) -> list[str]:
    if not has_link:  # nor does DuckDB read every store that Spark does
        return [
            f"Always the latest run: the path in {output}/CURRENT.json",
            f"Query it with Spark: spark.read.parquet('{run_directory}/recommendations')",
        ]
    files = f"{output}/current/recommendations/*.parquet"
    return [
        f"Always the latest run: {output}/current",
        f"Query it with DuckDB: SELECT * FROM '{files}' ORDER BY user_id, rank LIMIT 10;",
    ]


def _describe_training(training: Mapping[str, Any]) -> str:
    figures = [
        f"{name.replace('_', ' ')} {value:.6g}" for name, value in training["figures"].items()
    ]
    made = f"Trained {training['model']} on {training['device']}"
    if training.get("reused_from"):
        made = f"Used {training['model']} again, trained in run {training['reused_from']}"
    return f"{made}: {', '.join(figures)}"


def _describe_evaluation(evaluation: Mapping[str, Any]) -> str:
    """The metric that models are compared by, of each of them."""
    metric, k = evaluation["select_by"].split("@")
    shown = [
        f"{model} {value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f})"
        for model, values in evaluation["metrics"].items()
        for value in values
        if (value["metric"], value["k"]) == (metric, int(k))
    ]
    users = f"{evaluation['users']:,} users, split '{evaluation['split']}'"
    return f"{evaluation['select_by']} on held-out ratings ({users}): {', '.join(shown)}"


def _funnel_table(funnel: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="From input to training data", title_justify="left")
    table.add_column("step")
    for name in ("ratings", "users", "items"):
        table.add_column(name, justify="right")
    table.add_column("rule")
    for step in funnel:
        counts = (f"{step[name]:,}" for name in ("rows", "users", "items"))
        table.add_row(step["step"], *counts, step["rule"])
    return table


def _seconds_table(seconds: Mapping[str, float]) -> Table:
    table = Table(title="Seconds", title_justify="left")
    for stage in seconds:
        table.add_column(stage, justify="right")
    table.add_row(*[f"{value:.1f}" for value in seconds.values()])
    return table
