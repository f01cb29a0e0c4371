"""What a published run says of one item: cluster, readers, neighbours, or why it was left out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.ask.excluded import find_reasons, read_excluded_titles
from jobs.ask.published_tables import ITEM_COLUMNS, Id, PublishedTables
from jobs.ask.wording import count_noun, name_cluster, name_item
from jobs.errors import ConfigError
from jobs.process.terminal import printable
from jobs.tables.columns import ITEM_ID, RANK, TITLE
from jobs.tables.published import ITEM_CLUSTERS, RECOMMENDATIONS, SIMILAR_ITEMS
from recsys_core.items.titles import TitleIndex

_SHOWN_CANDIDATES = 10
"""Items that a title may mean, in a message."""
_SHOWN_RANKS = 10


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
    yield f"item {name_item(item[ITEM_ID], item[TITLE])}"
    if item["genres"]:
        yield f"genres: {printable(item['genres'].replace('|', ', '))}"
    mean = "" if item["mean_rating"] is None else f", mean {item['mean_rating']:.2f}"
    yield f"{count_noun(item['rating_count'], 'rating')}{mean}"
    yield name_cluster(item["cluster"], item["cluster_name"])
    yield _describe_readers(run, item[ITEM_ID])
    if run.has(SIMILAR_ITEMS):
        yield from _list_neighbours(run, item[ITEM_ID])


def _find_item(run: PublishedTables, text: str) -> dict[str, Any] | None:
    """The row of an item by id or title; None where the run has no such item."""
    key = run.parse_id(ITEM_CLUSTERS, ITEM_ID, text)
    item = None if key is None else _read_item(run, key)
    if item is not None:
        return item
    known = run.read(ITEM_CLUSTERS, (ITEM_ID, TITLE))
    positions = TitleIndex(known[TITLE].to_pylist()).find(text)
    found = known.take(pa.array(positions, pa.int64())).to_pylist()
    _require_one(text, found)
    return _read_item(run, found[0][ITEM_ID]) if found else None


def _read_item(run: PublishedTables, key: Id) -> dict[str, Any] | None:
    columns = (*ITEM_COLUMNS, "rating_count", "mean_rating")
    rows = run.read(ITEM_CLUSTERS, columns, pc.field(ITEM_ID) == key).to_pylist()
    return dict(rows[0]) if rows else None


def _require_one(text: str, found: Sequence[dict[str, Any]]) -> None:
    """ConfigError where a title may mean several items."""
    if len(found) > 1:
        shown = [name_item(row[ITEM_ID], row[TITLE]) for row in found[:_SHOWN_CANDIDATES]]
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
    if not (reasons := find_reasons(run, "item", key)):
        titled = read_excluded_titles(run)
        titles = [item[TITLE] for item in titled]
        found = [titled[position] for position in TitleIndex(titles).find(text)]
        _require_one(text, found)
        if not found:
            raise ConfigError(f"--item {text}: not an item of run {run.place.name}")
        key = name_item(found[0][ITEM_ID], found[0][TITLE])
        reasons = find_reasons(run, "item", found[0][ITEM_ID])
    return f"item {printable(key)} was left out of the model: {printable('; '.join(reasons))}"


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
    titles = run.read_items([row["similar_item_id"] for row in found])
    yield "similar:"
    for row in found:
        other = row["similar_item_id"]
        name = name_item(other, titles.get(other, {}).get(TITLE))
        yield f"{row[RANK]:4d}  {row['similarity']:9.3f}  {name}"
