"""Gather the rows of each user, and say of every row what became of it.

The ratings cross the network once: partitioned by user and sorted, then gathered into a row for
each user (``jobs/ratings/user_rows``) and cached. Which of several ratings of one item counts, and
which are its duplicates, is said by ``jobs/ratings/cleaning_rules``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.ratings.cleaning_rules import order_ratings
from jobs.ratings.recent import LowestChecksums, find_latest
from jobs.ratings.user_rows import cut_pieces, make_lists, whole_users
from jobs.tables.columns import (
    FILE,
    ITEM_ID,
    PIECE_NUMBER,
    RATING,
    RAW,
    REASON,
    RECENT,
    TIMES,
    TIMESTAMP,
    USER_ID,
)
from recsys_core.arrays import BoolArray, Int32Array, Int64Array

ITEMS, RATINGS, DUPLICATES = "items", "ratings", "duplicates"  # array columns of the account


@dataclass(frozen=True)
class RowAccount:
    """Every input row and what became of it.

    ``frame`` is cached and partitioned by user. It has rows of two kinds:

    a user      user_id, piece, items and ratings (arrays of one length: the unique ratings, in
                order of item), duplicates (array of items, in piece 0); all arrays may be empty;
                with ``keep_times`` also times (array of double: what orders the ratings in time,
                -inf where that is not known); with ``n_recent`` also recent (in piece 0 of those
                with the lowest checksums, else null: array of their latest ratings, see
                ``jobs/ratings/recent``)
    a refusal   reason, raw, file, and item_id where that could be read; piece is null
    """

    frame: DataFrame
    refused: dict[str, int]
    """Quarantined rows by reason, the most frequent first."""
    n_users: int
    """Users of any row."""
    n_valid_users: int
    """Users of a valid row."""

    @property
    def quarantine(self) -> DataFrame:
        """raw, file, reason of the refused rows."""
        return self.frame.where(is_refusal()).select(RAW, FILE, REASON)


def account_rows(
    rows: DataFrame, n_partitions: int, *, keep_times: bool = False, n_recent: int = 0
) -> RowAccount:
    """Partition the rows of ``jobs.input.read_ratings.read_ratings`` by user, and settle the fate
    of each.

    Args:
        keep_times: carry the ratings' times along, for splits that go by them.
        n_recent: of how many users at least to carry the latest ratings along, for the report;
            those with the lowest checksums.
    """
    gathered = gather_users(rows, n_partitions, keep_times=keep_times, n_recent=n_recent)
    return _count(gathered.persist(StorageLevel.MEMORY_AND_DISK))


def gather_users(
    rows: DataFrame, n_partitions: int, *, keep_times: bool = False, n_recent: int = 0
) -> DataFrame:
    """``RowAccount.frame``, lazily and not cached; arguments as of ``account_rows``."""
    types = {name: rows.schema[name].dataType.simpleString() for name in (USER_ID, ITEM_ID)}
    schema = (
        f"{USER_ID} {types[USER_ID]}, {PIECE_NUMBER} int, {ITEMS} array<{types[ITEM_ID]}>, "
        f"{RATINGS} array<double>, {DUPLICATES} array<{types[ITEM_ID]}>, "
        f"{ITEM_ID} {types[ITEM_ID]}, {REASON} string, {RAW} string, {FILE} string"
    )
    if keep_times:
        schema += f", {TIMES} array<double>"
    if n_recent:
        fields = f"{ITEM_ID}: {types[ITEM_ID]}, {RATING}: double, {TIMESTAMP}: bigint"
        schema += f", {RECENT} array<struct<{fields}>>"
    arranged = rows.repartition(n_partitions, USER_ID).sortWithinPartitions(USER_ID)
    gather = partial(_gather_partition, keep_times=keep_times, n_recent=n_recent)
    return arranged.mapInArrow(gather, schema)


def _gather_partition(
    batches: Iterator[pa.RecordBatch], keep_times: bool, n_recent: int
) -> Iterator[pa.RecordBatch]:
    """Flat rows sorted by user to the rows of ``RowAccount.frame``."""
    sample = LowestChecksums(n_recent) if n_recent else None
    for block in whole_users(batches):
        refused = block.filter(pc.is_valid(block.column(REASON)))
        if refused.num_rows:
            yield _list_refusals(refused, keep_times, keep_recent=sample is not None)
        known = block.filter(pc.is_valid(block.column(USER_ID)))
        if known.num_rows:
            yield _gather_block(known, keep_times, sample)


def _list_refusals(refused: pa.RecordBatch, keep_times: bool, keep_recent: bool) -> pa.RecordBatch:
    n, id_type = refused.num_rows, refused.schema.field(ITEM_ID).type
    columns = {
        USER_ID: pa.nulls(n, refused.schema.field(USER_ID).type),
        PIECE_NUMBER: pa.nulls(n, pa.int32()),
        ITEMS: pa.nulls(n, pa.list_(id_type)),
        RATINGS: pa.nulls(n, pa.list_(pa.float64())),
        DUPLICATES: pa.nulls(n, pa.list_(id_type)),
        **{name: refused.column(name) for name in (ITEM_ID, REASON, RAW, FILE)},
    }
    if keep_times:
        columns[TIMES] = pa.nulls(n, pa.list_(pa.float64()))
    if keep_recent:
        columns[RECENT] = pa.nulls(n, pa.list_(_recent_type(id_type)))
    return pa.RecordBatch.from_pydict(columns)


def _gather_block(
    rows: pa.RecordBatch, keep_times: bool, sample: LowestChecksums | None
) -> pa.RecordBatch:
    """One row, or several, for each user; a user whose rows are all refused has an empty one."""
    users = rows.column(USER_ID).dictionary_encode()
    user, n_users = users.indices.to_numpy(), len(users.dictionary)
    unique, repeated = _find_unique(rows, user)
    owner, piece, length = cut_pieces(np.bincount(user[unique], minlength=n_users))
    n_repeated = np.where(piece == 0, np.bincount(user[repeated], minlength=n_users)[owner], 0)
    item_id, nothing = rows.column(ITEM_ID), len(owner)
    columns = {
        USER_ID: users.dictionary.take(pa.array(owner)),
        PIECE_NUMBER: pa.array(piece, pa.int32()),
        ITEMS: make_lists(length, item_id.take(pa.array(unique))),
        RATINGS: make_lists(length, rows.column(RATING).take(pa.array(unique))),
        DUPLICATES: make_lists(n_repeated, item_id.take(pa.array(repeated))),
        ITEM_ID: pa.nulls(nothing, item_id.type),
        **{name: pa.nulls(nothing, pa.string()) for name in (REASON, RAW, FILE)},
    }
    if keep_times:
        columns[TIMES] = make_lists(length, _read_times(rows).take(pa.array(unique)))
    if sample is not None:
        wanted = sample.add(users.dictionary)
        columns[RECENT] = _list_latest(rows, user, unique, wanted, owner, piece)
    return pa.RecordBatch.from_pydict(columns)


def _find_unique(rows: pa.RecordBatch, user: Int32Array) -> tuple[Int64Array, Int64Array]:
    """The valid rows that count, and those that do not; each by user and item."""
    valid = np.flatnonzero(pc.is_null(rows.column(REASON)).to_numpy(zero_copy_only=False))
    item, rating, timestamp = (
        rows.column(name).take(pa.array(valid)) for name in (ITEM_ID, RATING, TIMESTAMP)
    )
    time = timestamp.fill_null(np.iinfo(np.int64).min).to_numpy()  # not as floats: to the second
    order, counts = order_ratings(user[valid], item, rating.to_numpy(), time)
    return valid[order[counts]], valid[order[~counts]]


def _read_times(rows: pa.RecordBatch) -> pa.Array:
    return rows.column(TIMESTAMP).cast(pa.float64(), safe=False).fill_null(-np.inf)


def _recent_type(item_type: pa.DataType) -> pa.DataType:
    fields = {ITEM_ID: item_type, RATING: pa.float64(), TIMESTAMP: pa.int64()}
    return pa.struct([pa.field(name, kind) for name, kind in fields.items()])


def _list_latest(
    rows: pa.RecordBatch,
    user: Int32Array,
    unique: Int64Array,
    wanted: BoolArray,
    owner: Int64Array,
    piece: Int64Array,
) -> pa.ListArray:
    """For each row of the account the latest ratings of its user; null but in piece 0 of some.

    Args:
        rows: of whole users.
        user: [rows], the number of each row's user.
        unique: the rows that count, by user and item.
        wanted: [users].
        owner, piece: [rows of the account], their users and numbers within these.
    """
    theirs = unique[wanted[user[unique]]]
    columns = {name: rows.column(name).take(pa.array(theirs)) for name in (RATING, TIMESTAMP)}
    latest = find_latest(user[theirs], columns[RATING], columns[TIMESTAMP])
    taken = rows.take(pa.array(theirs[latest]))
    fields = _recent_type(rows.schema.field(ITEM_ID).type)
    values = pa.StructArray.from_arrays(
        [taken.column(field.name) for field in fields], fields=[*fields]
    )
    first = (piece == 0) & wanted[owner]
    by_user = np.bincount(user[theirs[latest]], minlength=len(wanted))
    lists = make_lists(np.where(first, by_user[owner], 0), values)
    return pc.if_else(pa.array(first), lists, pa.nulls(len(first), lists.type))


def is_refusal() -> Column:
    """Whether a row of ``RowAccount.frame`` is a refusal."""
    return F.col(PIECE_NUMBER).isNull()


def _count(account: DataFrame) -> RowAccount:
    first = F.col(PIECE_NUMBER) == 0
    by_reason = account.groupBy(REASON).agg(
        F.count("*").alias("rows"),
        F.count(F.when(first, True)).alias("users"),
        F.count(F.when(first & (F.size(ITEMS) > 0), True)).alias("valid_users"),
    )
    refused, n_users, n_valid_users = {}, 0, 0
    for row in sorted(by_reason.collect(), key=lambda row: -row["rows"]):
        if row[REASON] is None:
            n_users, n_valid_users = row["users"], row["valid_users"]
        else:
            refused[row[REASON]] = row["rows"]
    return RowAccount(account, refused, n_users, n_valid_users)
