"""Everything a run knows of its items, in index order, for clusters and the saved model."""

import pandas as pd

from jobs.clean import CleanRatings
from jobs.schemas import ITEM_ID
from recsys_core.index import ItemIndex
from recsys_core.model_format import ExcludedItem, ItemCatalog


def make_catalog(index: ItemIndex, clean: CleanRatings, items: pd.DataFrame) -> ItemCatalog:
    """Join the index with the counts of cleaning and the titles of the items file.

    Args:
        items: ``jobs.read.ItemsInput.items``; items it lacks have neither title nor genres.
    """
    known = items.set_index(ITEM_ID)
    titles = _to_texts(known["title"].reindex(index.item_ids))
    genres = _to_texts(known["genres"].reindex(index.item_ids))
    dropped = clean.excluded_items
    dropped_titles = _to_texts(known["title"].reindex(dropped[ITEM_ID]))
    excluded = [
        ExcludedItem(item_id, title, reason, int(count))
        for item_id, title, reason, count in zip(
            dropped[ITEM_ID].tolist(),
            dropped_titles,
            dropped["reason"].tolist(),
            dropped["rating_count"].tolist(),
            strict=True,
        )
    ]
    return ItemCatalog(
        index,
        titles,
        genres,
        clean.items["rating_count"].to_numpy(),
        clean.items["mean_rating"].to_numpy(),
        excluded,
    )


def _to_texts(values: pd.Series) -> list[str | None]:
    return [value if isinstance(value, str) else None for value in values.tolist()]
