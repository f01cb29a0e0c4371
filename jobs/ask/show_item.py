"""What a published run says of one user or one item."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.ask.published_tables import Id, PublishedTables
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
from jobs.tables.published import (
    EXCLUDED,
    ITEM_CLUSTERS,
    RECENT_RATINGS,
    RECOMMENDATIONS,
    SIMILAR_ITEMS,
)
from recsys_core.items.titles import TitleIndex

_SHOWN_CANDIDATES = 10


_SHOWN_RANKS = 10


_ITEM_COLUMNS = (ITEM_ID, "title", "genres", "cluster", "cluster_name")


def describe_user(run: PublishedTables, text: str) -> Iterator[str]:
    """Lines on a user: the list with its clusters, or why there is none.

    Raises:
        ConfigError: the run knows no such user.
    """
    user = run.parse_id(RECOMMENDATIONS, USER_ID, text)
    yield f"run {run.place.name}"
    reasons = [] if user is None else _find_reasons(run, "user", user)
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
    yield f"user {printable(user)}: {_count(len(rows), 'recommendation')}"
    yield "rank      score  source      cluster  title"
    items = _read_items(run, [row[ITEM_ID] for row in rows])
    for row in rows:
        item = items.get(row[ITEM_ID], {})
        cluster = "" if item.get("cluster") is None else item["cluster"]
        name = _name_item(row[ITEM_ID], item.get("title"))
        start = f"{row[RANK]:4d}  {row[SCORE]:9.3f}  {printable(row[SOURCE]):10}"
        yield f"{start}  {cluster:>7}  {name}"
    yield from _sum_up_clusters([items.get(row[ITEM_ID], {}) for row in rows])
    if run.has(RECENT_RATINGS):
        yield from _list_ratings(run, user)


def _read_list(run: PublishedTables, user: Id) -> list[dict[str, Any]]:
    columns = (RANK, ITEM_ID, SCORE, SOURCE)
    rows = run.read(RECOMMENDATIONS, columns, pc.field(USER_ID) == user)
    return [*rows.sort_by(RANK).to_pylist()]


def _list_ratings(run: PublishedTables, user: Id | None) -> Iterator[str]:
    """What a user rated last; nothing for users who are not in that table, which has a sample."""
    columns = (PLACE, ITEM_ID, TITLE, RATING, TIMESTAMP)
    rows = run.read(RECENT_RATINGS, columns, pc.field(USER_ID) == user).sort_by(PLACE).to_pylist()
    if rows:
        timed = any(row[TIMESTAMP] is not None for row in rows)
        yield "recently rated:" if timed else "rated highest (the input has no times):"
    for row in rows:
        yield f"{row[RATING]:8g}  {_name_day(row[TIMESTAMP])}{_name_item(row[ITEM_ID], row[TITLE])}"


def _name_day(seconds: int | None) -> str:
    """The day in UTC; empty where it is not known, or of no calendar."""
    try:
        return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}  "
    except (ValueError, OverflowError, OSError):
        return ""


def _find_reasons(run: PublishedTables, kind: str, key: Id) -> list[str]:
    """Why a user or item is not in the model, with its number of ratings; empty where it is."""
    condition = (pc.field("kind") == kind) & (pc.field("id") == str(key))
    rows = run.read(EXCLUDED, ("reason", "rating_count"), condition)
    return [
        f"{row['reason']} ({_count(row['rating_count'], 'valid rating')})"
        for row in rows.to_pylist()
    ]


def _read_items(run: PublishedTables, ids: Sequence[Id]) -> dict[Id, dict[str, Any]]:
    rows = run.read(ITEM_CLUSTERS, _ITEM_COLUMNS, pc.field(ITEM_ID).isin([*ids]))
    return {row[ITEM_ID]: row for row in rows.to_pylist()}


def _sum_up_clusters(items: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Which clusters a list is made of, the most frequent first."""
    counts = Counter((item.get("cluster"), item.get("cluster_name")) for item in items)
    for (cluster, name), count in counts.most_common():
        if cluster is not None:
            yield f"{count} of {len(items)} from {_name_cluster(cluster, name)}"


def describe_item(run: PublishedTables, text: str) -> Iterator[str]:
    """Lines on an item: cluster, ratings, neighbours and who gets it; or why it was left out.

    Raises:
        ConfigError: an item that the run does not know, or a title that several have.
    """
    yield f"run {run.place.name}"
    item = _find_item(run, text)
    if item is None:
        yield _explain_missing(run, text)
        return
    yield f"item {_name_item(item[ITEM_ID], item['title'])}"
    if item["genres"]:
        yield f"genres: {printable(item['genres'].replace('|', ', '))}"
    mean = "" if item["mean_rating"] is None else f", mean {item['mean_rating']:.2f}"
    yield f"{_count(item['rating_count'], 'rating')}{mean}"
    yield _name_cluster(item["cluster"], item["cluster_name"])
    yield _describe_readers(run, item[ITEM_ID])
    if run.has(SIMILAR_ITEMS):
        yield from _list_neighbours(run, item[ITEM_ID])


def _find_item(run: PublishedTables, text: str) -> dict[str, Any] | None:
    """The row of an item by id or title; None where the run has no such item."""
    key = run.parse_id(ITEM_CLUSTERS, ITEM_ID, text)
    item = None if key is None else _read_item(run, key)
    if item is not None:
        return item
    known = run.read(ITEM_CLUSTERS, (ITEM_ID, "title"))
    positions = TitleIndex(known["title"].to_pylist()).find(text)
    found = known.take(pa.array(positions, pa.int64())).to_pylist()
    _require_one(text, found)
    return _read_item(run, found[0][ITEM_ID]) if found else None


def _read_item(run: PublishedTables, key: Id) -> dict[str, Any] | None:
    columns = (*_ITEM_COLUMNS, "rating_count", "mean_rating")
    rows = run.read(ITEM_CLUSTERS, columns, pc.field(ITEM_ID) == key).to_pylist()
    return dict(rows[0]) if rows else None


def _require_one(text: str, found: Sequence[dict[str, Any]]) -> None:
    if len(found) > 1:
        shown = [_name_item(row[ITEM_ID], row["title"]) for row in found[:_SHOWN_CANDIDATES]]
        more = f" and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
        raise ConfigError(
            f"--item {text}: may be any of: {', '.join(shown)}{more}; give the id or the whole "
            "title"
        )


def _explain_missing(run: PublishedTables, text: str) -> str:
    """Why an item is not in the run.

    Raises:
        ConfigError: because the input had none.
    """
    key: Id = text.strip()
    if not (reasons := _find_reasons(run, "item", key)):
        titled = _read_excluded_titles(run)
        titles = [item["title"] for item in titled]
        found = [titled[position] for position in TitleIndex(titles).find(text)]
        _require_one(text, found)
        if not found:
            raise ConfigError(f"--item {text}: not an item of run {run.place.name}")
        key = _name_item(found[0][ITEM_ID], found[0]["title"])
        reasons = _find_reasons(run, "item", found[0][ITEM_ID])
    return f"item {printable(key)} was left out of the model: {printable('; '.join(reasons))}"


def _read_excluded_titles(run: PublishedTables) -> list[dict[str, Any]]:
    """item_id and title of what was left out, as only the saved model knows them."""
    try:
        facts = json.loads((run.place / "model" / "model.json").read_bytes())
        return [
            {ITEM_ID: item["item_id"], "title": item["title"]} for item in facts["excluded_items"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _describe_readers(run: PublishedTables, item: Id) -> str:
    """To how many users an item is recommended, and at which ranks."""
    ranks = run.read(RECOMMENDATIONS, (RANK,), pc.field(ITEM_ID) == item)[RANK].to_numpy()
    if not len(ranks):
        return "recommended to nobody"
    counts = sorted(Counter(ranks.tolist()).items())
    shown = ", ".join(f"{rank}: {count}" for rank, count in counts[:_SHOWN_RANKS])
    rest = sum(count for _, count in counts[_SHOWN_RANKS:])
    more = f", below: {rest}" if rest else ""
    of = "" if run.n_users is None else f" of {run.n_users:,}"
    return f"recommended to {len(ranks):,}{of} users, by rank {shown}{more}"


def _list_neighbours(run: PublishedTables, item: Id) -> Iterator[str]:
    columns = (RANK, "similar_item_id", "similarity")
    found = run.read(SIMILAR_ITEMS, columns, pc.field(ITEM_ID) == item).sort_by(RANK).to_pylist()
    titles = _read_items(run, [row["similar_item_id"] for row in found])
    yield "similar:"
    for row in found:
        other = row["similar_item_id"]
        name = _name_item(other, titles.get(other, {}).get("title"))
        yield f"{row[RANK]:4d}  {row['similarity']:9.3f}  {name}"


def _name_item(item: Id, title: str | None) -> str:
    return printable(f"{title} [{item}]" if title else item)


def _name_cluster(cluster: int, name: str | None) -> str:
    return printable(f"cluster {cluster}: {name}" if name else f"cluster {cluster}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
