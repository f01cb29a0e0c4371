"""What a published run says of one user: the list, why there is none, and what they rated."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc

from jobs.ask.excluded import find_reasons
from jobs.ask.published_tables import Id, PublishedTables
from jobs.ask.wording import count_noun, name_cluster, name_item
from jobs.errors import ConfigError
from jobs.process.terminal import printable
from jobs.tables.columns import (
    ITEM_ID,
    PLACE,
    RANK,
    RATING,
    SCORE,
    SOURCE,
    TIMESTAMP,
    TITLE,
    USER_ID,
)
from jobs.tables.published import RECENT_RATINGS, RECOMMENDATIONS


def describe_user(run: PublishedTables, text: str) -> Iterator[str]:
    """Lines on a user: the list with its clusters, or why there is none.

    Raises:
        ConfigError: the run knows no such user.
    """
    user = run.parse_id(RECOMMENDATIONS, USER_ID, text)
    yield f"run {run.place.name}"
    reasons = [] if user is None else find_reasons(run, "user", user)
    rows = [] if user is None else _read_list(run, user)
    if not rows and not reasons:
        raise ConfigError(
            f"--user {text}: neither a list nor a reason for none in run {run.place.name}: no user "
            "of its input, or one who has rated every item"
        )
    for reason in reasons:
        yield f"user {printable(user)} was left out of the model: {printable(reason)}"
    if not rows:
        return
    yield f"user {printable(user)}: {count_noun(len(rows), 'recommendation')}"
    yield from _tabulate_list(rows, run.read_items([row[ITEM_ID] for row in rows]))
    if run.has(RECENT_RATINGS):
        yield from _list_ratings(run, user)


def _read_list(run: PublishedTables, user: Id) -> list[dict[str, Any]]:
    columns = (RANK, ITEM_ID, SCORE, SOURCE)
    rows = run.read(RECOMMENDATIONS, columns, pc.field(USER_ID) == user)
    return [*rows.sort_by(RANK).to_pylist()]


def _tabulate_list(
    rows: Sequence[dict[str, Any]], items: dict[Id, dict[str, Any]]
) -> Iterator[str]:
    """A line for each place of a list, and what clusters it is made of."""
    yield "rank      score  source      cluster  title"
    for row in rows:
        item = items.get(row[ITEM_ID], {})
        cluster = "" if item.get("cluster") is None else item["cluster"]
        name = name_item(row[ITEM_ID], item.get(TITLE))
        start = f"{row[RANK]:4d}  {row[SCORE]:9.3f}  {printable(row[SOURCE]):10}"
        yield f"{start}  {cluster:>7}  {name}"
    yield from _sum_up_clusters([items.get(row[ITEM_ID], {}) for row in rows])


def _sum_up_clusters(items: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Which clusters a list is made of, the most frequent first."""
    counts = Counter((item.get("cluster"), item.get("cluster_name")) for item in items)
    for (cluster, name), count in counts.most_common():
        if cluster is not None:
            yield f"{count} of {len(items)} from {name_cluster(cluster, name)}"


def _list_ratings(run: PublishedTables, user: Id | None) -> Iterator[str]:
    """What a user rated last; nothing for users who are not in that table, which has a sample."""
    columns = (PLACE, ITEM_ID, TITLE, RATING, TIMESTAMP)
    rows = run.read(RECENT_RATINGS, columns, pc.field(USER_ID) == user).sort_by(PLACE).to_pylist()
    if rows:
        timed = any(row[TIMESTAMP] is not None for row in rows)
        yield "recently rated:" if timed else "rated highest (the input has no times):"
    for row in rows:
        yield f"{row[RATING]:8g}  {_name_day(row[TIMESTAMP])}{name_item(row[ITEM_ID], row[TITLE])}"


def _name_day(seconds: int | None) -> str:
    """The day in UTC; empty where it is not known, or of no calendar."""
    try:
        return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}  "
    except (ValueError, OverflowError, OSError):
        return ""
