"""Give every surviving item its dense index, and hold the indexed ratings ready for the night.

One row for the ratings of a user, in pieces (``jobs/ratings/user_rows``):

user_id     as read; all rows of a user in one partition, consecutive
piece       number of the row within the user, from 0
item_index  array of int, 0..n_items-1 in ascending order of item_id, ascending within a user
rating      array of float
times       array of double, where ``jobs.ratings.gather`` was to keep them
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.ratings.user_rows import make_lists
from jobs.tables.columns import ITEM_ID, ITEM_INDEX, PIECE_NUMBER, RATING, SEEN, TIMES, USER_ID
from recsys_core.items.index import ItemIndex


@dataclass(frozen=True)
class IndexedRatings:
    """Cached ratings with item indices; see the module's account of ``frame``."""

    frame: DataFrame
    index: ItemIndex
    items: pd.DataFrame
    """item_id, rating_count, mean_rating in order of the index."""
    left_out: DataFrame
    """user_id, item_index (array of int: indexed items the user has rated; may be empty) of the
    users who have no row in ``frame``."""


def index_ratings(
    ratings: DataFrame, items: pd.DataFrame, given: ItemIndex | None = None
) -> IndexedRatings:
    """Leave out users and items without ratings, and number the items that remain.

    Args:
        ratings: ``CleanRatings.ratings``.
        items: ``CleanRatings.items``.
        given: the index of the items that cleaning was given: all of them keep their number, rated
            or not.
    """
    columns = (USER_ID, PIECE_NUMBER, ITEM_INDEX, RATING, TIMES)
    frame = ratings.where(F.size(ITEM_INDEX) > 0).select(
        *(name for name in columns if name in ratings.columns)
    )
    left_out = ratings.where((F.col(PIECE_NUMBER) == 0) & (F.size(ITEM_INDEX) == 0)).select(
        USER_ID, F.col(SEEN).alias(ITEM_INDEX)
    )
    if given is not None:
        return IndexedRatings(frame, given, items, left_out)
    rated = items["rating_count"] > 0
    if not rated.all():  # rare: all users of an item have left
        frame = _renumber(frame, rated.to_numpy()).persist(StorageLevel.MEMORY_AND_DISK)
        left_out = _renumber(left_out, rated.to_numpy())
    survivors = items[rated].reset_index(drop=True)
    index = ItemIndex.from_ids(survivors[ITEM_ID].tolist())
    return IndexedRatings(frame, index, survivors, left_out)


def _renumber(frame: DataFrame, rated: np.ndarray) -> DataFrame:
    new_index = np.cumsum(rated, dtype=np.int32) - 1

    def renumber(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            old = batch.column(ITEM_INDEX)
            index, row = (
                old.flatten().to_numpy(),
                np.repeat(np.arange(batch.num_rows), old.value_lengths().to_numpy()),
            )
            stays = rated[index]
            lengths = np.bincount(row[stays], minlength=batch.num_rows)
            lists = make_lists(lengths, pa.array(new_index[index[stays]]))
            position = batch.schema.get_field_index(ITEM_INDEX)
            yield batch.set_column(position, ITEM_INDEX, lists)

    return frame.mapInArrow(renumber, frame.schema)
