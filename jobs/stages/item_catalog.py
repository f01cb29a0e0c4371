"""Everything a run knows of its items, in index order, for clusters and the saved model."""

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.ratings.index import IndexedRatings
from jobs.tables.columns import ITEM_ID, REASON, TITLE
from recsys_core.items.catalog import ExcludedItem, ItemCatalog


def make_catalog(
    indexed: IndexedRatings, dropped: pd.DataFrame, items: pd.DataFrame
) -> ItemCatalog:
    """Join the indexed items with the titles of the items file.

    Args:
        dropped: ``CleanRatings.excluded_items``.
        items: ``jobs.input.read_items.ItemsInput.items``; items it lacks have neither title nor
        genres.
    """
    index, known = indexed.index, items.set_index(ITEM_ID)
    return ItemCatalog(
        index,
        _to_texts(known[TITLE].reindex(index.item_ids)),
        _to_texts(known["genres"].reindex(index.item_ids)),
        indexed.items["rating_count"].to_numpy(),
        indexed.items["mean_rating"].to_numpy(),
        _list_excluded(dropped, known[TITLE]),
    )


def _list_excluded(dropped: pd.DataFrame, titles: pd.Series) -> list[ExcludedItem]:
    columns = (
        dropped[ITEM_ID].tolist(),
        _to_texts(titles.reindex(dropped[ITEM_ID])),
        dropped[REASON].tolist(),
        dropped["rating_count"].tolist(),
    )
    return [ExcludedItem(*row) for row in zip(*columns, strict=True)]


def add_titles(lists: DataFrame, catalog: ItemCatalog) -> DataFrame:
    """``lists`` with the column ``title``, null where an item has none; its rows stay in place."""
    id_type = lists.schema[ITEM_ID].dataType.simpleString()
    titles = pd.DataFrame({ITEM_ID: catalog.item_ids, TITLE: catalog.titles})
    known = lists.sparkSession.createDataFrame(titles, f"{ITEM_ID} {id_type}, {TITLE} string")
    return lists.join(F.broadcast(known), ITEM_ID, how="left")


def _to_texts(values: pd.Series) -> list[str | None]:
    return [value if isinstance(value, str) else None for value in values.tolist()]
