"""Give every surviving item its dense index, and hold the indexed ratings ready for the night.

user_id     as read; all rows of a user in one partition, consecutive
item_id     as read
item_index  int, 0..n_items-1 in ascending order of item_id
rating      float
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.schemas import ITEM_ID, ITEM_INDEX, RATING, USER_ID
from recsys_core.index import ItemIndex


@dataclass(frozen=True)
class IndexedRatings:
    """Cached ratings with item indices; see the module's account of ``frame``."""

    frame: DataFrame
    index: ItemIndex


def index_ratings(ratings: DataFrame, items: pd.DataFrame) -> IndexedRatings:
    """Attach ``item_index`` to the cleaned ratings.

    Args:
        ratings: ``CleanRatings.ratings``.
        items: ``CleanRatings.items``, which holds exactly the items of ``ratings``.
    """
    index = ItemIndex.from_ids(items[ITEM_ID].tolist())
    id_type = ratings.schema[ITEM_ID].dataType.simpleString()
    mapping = pd.DataFrame(
        {ITEM_ID: index.item_ids, ITEM_INDEX: np.arange(len(index), dtype=np.int32)}
    )
    lookup = ratings.sparkSession.createDataFrame(mapping, f"{ITEM_ID} {id_type}, {ITEM_INDEX} int")
    # Broadcast: the join is narrow, so the order by user is kept.
    frame = ratings.join(F.broadcast(lookup), ITEM_ID, how="inner").select(
        USER_ID, ITEM_ID, ITEM_INDEX, F.col(RATING).cast("float").alias(RATING)
    )
    return IndexedRatings(frame.persist(StorageLevel.MEMORY_AND_DISK), index)
