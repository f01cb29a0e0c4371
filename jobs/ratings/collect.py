"""Bring the indexed ratings to the driver, as one matrix."""

import logging

import numpy as np
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.ratings.user_rows import to_matrix
from jobs.tables.columns import ITEM_INDEX, PIECE_NUMBER, RATING, TIMES, USER_ID
from recsys_core.evaluation.splits import TimedRatings

logger = logging.getLogger(__name__)


def collect_ratings(
    ratings: DataFrame, n_items: int, *, max_users: int | None = None, seed: int = 0
) -> TimedRatings:
    """The indexed ratings as one matrix.

    Rows are users in ascending order of id and columns are sorted, so the matrix does not depend on
    the partitioning. The ratings cross as Arrow columns, never as Python rows.

    Args:
        max_users: take the ratings of so many users at most, those with the lowest hash of ``seed``
            and id; all where None.
    """
    if max_users is not None:
        ratings = _draw_users(ratings, max_users, seed)
    times = [TIMES] if TIMES in ratings.columns else []
    table = ratings.select(USER_ID, PIECE_NUMBER, ITEM_INDEX, RATING, *times).toArrow()
    order = pc.sort_indices(table, sort_keys=[(USER_ID, "ascending"), (PIECE_NUMBER, "ascending")])
    table = table.take(order)
    _, matrix = to_matrix(table, n_items)
    n_unrated = int(np.count_nonzero(np.bincount(matrix.indices, minlength=n_items) == 0))
    if n_unrated:
        logger.warning(
            "train.max_users = %s: %s of %s items have no rating by the users drawn, and will "
            "hardly be recommended",
            *(f"{count:,}" for count in (max_users or 0, n_unrated, n_items)),
        )
    return TimedRatings(matrix, pc.list_flatten(table.column(TIMES)).to_numpy() if times else None)


def _draw_users(ratings: DataFrame, max_users: int, seed: int) -> DataFrame:
    """The rows of ``max_users`` users; the draw depends on their ids and the seed alone."""
    by_hash = F.xxhash64(F.lit(seed), USER_ID)
    first = ratings.where(F.col(PIECE_NUMBER) == 0).select(by_hash.alias("hash"))
    last = first.orderBy("hash").limit(max_users).agg(F.max("hash")).collect()[0][0]
    return ratings.where(by_hash <= last)
