"""The latest ratings of a sample of users, kept while the input is read.

They are for the report. Whom it shows is known once there are lists: of the users who have one,
those whose ids have the lowest checksums (``jobs/stages/recent_ratings``). So those of twice as
many users are kept (``jobs/ratings/gather``): a night that leaves most users without a list, and
only such a night, has to read the input again, for some. Reading it again each night took 6 to 14%
of it.

By time, the latest first, then item id. Ratings without a time come after those with one, and the
highest of them first: in an input without times, a user's highest ratings are taken.
"""

import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.tables.columns import RECENT, USER_ID
from jobs.tables.published import MAX_RECENT_RATINGS, MAX_SAMPLED_USERS
from recsys_core.arrays import BoolArray, Int32Array, Int64Array

N_CANDIDATES = 2 * MAX_SAMPLED_USERS
"""Users whose latest ratings are kept until there are lists."""


# --- While the input is read, in Python workers --------------------------------------------------


class LowestChecksums:
    """Whose checksums have been among the ``n`` lowest when they came by.

    More than ``n`` in all, but few: the first ones, and then ever fewer. The ``n`` lowest of all
    are always among them.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._lowest: Int64Array = np.empty(0, np.int64)

    def add(self, users: pa.Array) -> BoolArray:
        """Whether each of these users is, as its checksum is ``crc32`` of the id as text."""
        texts = pc.cast(users, pa.string()).to_pylist()
        sums = np.array([zlib.crc32(text.encode()) for text in texts], np.int64)
        lowest = np.concatenate([self._lowest, sums])
        if len(lowest) > self._n:
            lowest = np.partition(lowest, self._n - 1)[: self._n]
        self._lowest = lowest
        return np.asarray(sums <= lowest.max())


def find_latest(user: Int32Array, rating: pa.Array, timestamp: pa.Array) -> Int64Array:
    """The places of each user's latest ratings, by user and in order.

    Args:
        user: ascending; ratings of a user are in order of item.
    """
    # Integers, as seconds are exact; ~ turns their order around where - would overflow.
    time = pc.fill_null(timestamp, np.iinfo(np.int64).min).to_numpy()
    untimed = pc.is_null(timestamp).to_numpy(zero_copy_only=False)
    worth = np.where(untimed, -rating.to_numpy(), 0.0)
    order = np.lexsort((worth, ~time, user))
    counts = np.bincount(user) if len(user) else np.empty(0, np.int64)
    place = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[place < MAX_RECENT_RATINGS]


# --- On the driver -------------------------------------------------------------------------------


def order_users() -> tuple[Column, Column]:
    """What puts users in the order of the sample, spread over all ids and the same anywhere."""
    user = F.col(USER_ID).cast("string")
    return F.crc32(user), user


def collect_candidates(account: DataFrame, n: int) -> pa.Table:
    """user_id, recent (list of item_id, rating, timestamp) of ``n`` users, the lowest checksums.

    Args:
        account: ``RowAccount.frame`` with ``n_recent`` of ``n`` or more.
    """
    kept = account.where(F.col(RECENT).isNotNull()).select(USER_ID, RECENT)
    return kept.orderBy(*order_users()).limit(n).toArrow()
