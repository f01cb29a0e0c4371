"""The latest ratings of the users whom the report shows, without a second look at the input.

Whom it shows is known once there are lists: of the users who have one, those whose ids have the
lowest checksums. So twice as many users' latest ratings are kept while the input is read
(``jobs/ratings/gather``): a night that leaves most users without a list, and only such a night, has
to read the input again, for some. Reading it again each night took 6 to 14% of it.

By time, the latest first, then item id. Ratings without a time come after those with one, and the
highest of them first: in an input without times, a user's highest ratings are taken.
"""

import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.tables.columns import ITEM_ID, PLACE, RATING, REASON, RECENT, TIMESTAMP, TITLE, USER_ID
from jobs.tables.published import MAX_RECENT_RATINGS, MAX_SAMPLED_USERS, RECENT_RATINGS
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


def collect_candidates(account: DataFrame) -> pa.Table:
    """user_id, recent (list of item_id, rating, timestamp) of the users with the lowest checksums.

    Args:
        account: ``RowAccount.frame`` with ``keep_recent``.
    """
    kept = account.where(F.col(RECENT).isNotNull()).select(USER_ID, RECENT)
    return kept.orderBy(*order_users()).limit(N_CANDIDATES).toArrow()


def list_recent(
    users: list[int] | list[str], candidates: pa.Table, rows: DataFrame, items: pd.DataFrame
) -> pd.DataFrame:
    """The columns of ``RECENT_RATINGS``, in order of its key; a user without a valid row has none.

    Args:
        users: ids as in the input.
        candidates: of ``collect_candidates``.
        rows: ``RatingsInput.rows``, which are read for users who are no candidates.
        items: ``ItemsInput.items``.
    """
    column = candidates.column(USER_ID)
    wanted = pa.array(users, column.type)
    found = _flatten(candidates.filter(pc.is_in(column, value_set=wanted)))
    missing = wanted.filter(pc.invert(pc.is_in(wanted, value_set=column))).to_pylist()
    if missing:
        found = pa.concat_tables([found, read_recent(rows, missing).cast(found.schema)])
    recent = found.sort_by([(USER_ID, "ascending"), (PLACE, "ascending")]).to_pandas(
        # Not through float64, as pandas has integers with nulls: ids and seconds stay exact.
        integer_object_nulls=True
    )
    titles = items.set_index(ITEM_ID)[TITLE].reindex(recent[ITEM_ID])
    recent[TITLE] = [title if isinstance(title, str) else None for title in titles.tolist()]
    ordered: pd.DataFrame = recent[[column.name for column in RECENT_RATINGS.columns]]
    return ordered


def _flatten(users: pa.Table) -> pa.Table:
    """user_id, place, item_id, rating, timestamp: a row for each rating."""
    lists = users.combine_chunks().column(RECENT).combine_chunks()
    lengths = lists.value_lengths().to_numpy()
    owner = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    ratings = lists.flatten()
    return pa.table(
        {
            USER_ID: users.column(USER_ID).take(pa.array(owner)),
            PLACE: pa.array(place, pa.int32()),
            **{name: ratings.field(name) for name in (ITEM_ID, RATING, TIMESTAMP)},
        }
    )


def read_recent(rows: DataFrame, users: list[int] | list[str]) -> pa.Table:
    """user_id, place, item_id, rating, timestamp from the input itself, of a few users.

    Args:
        rows: ``RatingsInput.rows``.
    """
    # First the cheap condition: whether a row is valid is then asked only of these users' rows.
    theirs = rows.where(F.col(USER_ID).isin(users)).where(F.col(REASON).isNull())
    # As jobs/ratings/gather: of a user's ratings of an item the latest counts, then the highest.
    latest = F.max(F.struct(TIMESTAMP, RATING)).alias("latest")
    counted = theirs.groupBy(USER_ID, ITEM_ID).agg(latest).select(USER_ID, ITEM_ID, "latest.*")
    untimed = F.when(F.col(TIMESTAMP).isNull(), F.col(RATING))
    order = (F.col(TIMESTAMP).desc_nulls_last(), untimed.desc(), F.col(ITEM_ID))
    # Cut inside Spark: one of these users may have rated everything there is.
    placed = counted.withColumn(
        PLACE, F.row_number().over(Window.partitionBy(USER_ID).orderBy(*order))
    ).where(F.col(PLACE) <= MAX_RECENT_RATINGS)
    return placed.select(USER_ID, PLACE, ITEM_ID, RATING, TIMESTAMP).toArrow()
