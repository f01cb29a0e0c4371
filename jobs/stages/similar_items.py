"""The nearest neighbours of each item, by its factors."""

import pandas as pd

from recsys_core.arrays import Int32Array
from recsys_core.items.catalog import ItemCatalog
from recsys_core.model_form.item_model import ItemModel
from recsys_core.ranking.similarity import rank_neighbours


def list_similar_items(
    model: ItemModel, catalog: ItemCatalog, k: int, allowed: Int32Array | None = None
) -> pd.DataFrame:
    """The columns of ``SIMILAR_ITEMS``: each item's k nearest, by ``rank_neighbours``.

    Args:
        allowed: indices of the items that may be named as neighbours, ascending; None: all.
    """
    ranked = rank_neighbours(model, k, among=allowed)
    return pd.DataFrame(
        {
            "item_id": catalog.item_ids[ranked.user_row],
            "rank": ranked.rank,
            "similar_item_id": catalog.item_ids[ranked.item_index],
            "similarity": ranked.score,
        }
    )
