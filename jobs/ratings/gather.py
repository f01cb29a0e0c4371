"""Gather the rows of each user, and say of every row what became of it.

The ratings cross the network once: partitioned by user and sorted, then gathered into a row for
each user (``jobs/ratings/user_rows``) and cached. Of several ratings of one item by one user the
latest counts; where times are equal or missing, the highest (file order is not defined in Spark).
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

from jobs.ratings.recent import N_CANDIDATES, LowestChecksums, find_latest
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
                -inf where that is not known); with ``keep_recent`` also recent (in piece 0 of those
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
    rows: DataFrame, n_partitions: int, *, keep_times: bool = False, keep_recent: bool = False
) -> RowAccount:
    """Partition the rows of ``jobs.input.read_ratings.read_ratings`` by user, and settle the fate
    of each.

    Args:
        keep_times: carry the ratings' times along, for splits that go by them.
        keep_recent: carry the latest ratings of a sample of the users along, for the report.
    """
    types = {name: rows.schema[name].dataType.simpleString() for name in (USER_ID, ITEM_ID)}
    schema = (
        f"{USER_ID} {types[USER_ID]}, {PIECE_NUMBER} int, {ITEMS} array<{types[ITEM_ID]}>, "
        f"{RATINGS} array<double>, {DUPLICATES} array<{types[ITEM_ID]}>, "
        f"{ITEM_ID} {types[ITEM_ID]}, {REASON} string, {RAW} string, {FILE} string"
    )
    if keep_times:
        schema += f", {TIMES} array<double>"
    if keep_recent:
        fields = f"{ITEM_ID}: {types[ITEM_ID]}, {RATING}: double, {TIMESTAMP}: bigint"
        schema += f", {RECENT} array<struct<{fields}>>"
    arranged = rows.repartition(n_partitions, USER_ID).sortWithinPartitions(USER_ID)
    gather = partial(_gather_users, keep_times=keep_times, keep_recent=keep_recent)
    gathered = arranged.mapInArrow(gather, schema)
    return _count(gathered.persist(StorageLevel.MEMORY_AND_DISK))


def _gather_users(
    batches: Iterator[pa.RecordBatch], keep_times: bool, keep_recent: bool
) -> Iterator[pa.RecordBatch]:
    """Flat rows sorted by user to the rows of ``RowAccount.frame``."""
    sample = LowestChecksums(N_CANDIDATES) if keep_recent else None
    for block in whole_users(batches):
        refused = block.filter(pc.is_valid(block.column(REASON)))
        if refused.num_rows:
            yield _list_refusals(refused, keep_times, keep_recent)
        known = block.filter(pc.is_valid(block.column(USER_ID)))
        if known.num_rows:
            yield _gather_block(known, keep_times, sample)


def _list_refusals(refused: pa.RecordBatch, keep_times: bool, keep_recent: bool) -> pa.RecordBatch:
    n, id_type = refused.num_rows, refused.schema.field(ITEM_ID).type
    return pa.RecordBatch.from_pydict(
        {
            USER_ID: pa.nulls(n, refused.schema.field(USER_ID).type),
            PIECE_NUMBER: pa.nulls(n, pa.int32()),
            ITEMS: pa.nulls(n, pa.list_(id_type)),
            RATINGS: pa.nulls(n, pa.list_(pa.float64())),
            DUPLICATES: pa.nulls(n, pa.list_(id_type)),
            **{name: refused.column(name) for name in (ITEM_ID, REASON, RAW, FILE)},
            **({TIMES: pa.nulls(n, pa.list_(pa.float64()))} if keep_times else {}),
            **({RECENT: pa.nulls(n, pa.list_(_recent_type(id_type)))} if keep_recent else {}),
        }
    )


def _gather_block(
    rows: pa.RecordBatch, keep_times: bool, sample: LowestChecksums | None
) -> pa.RecordBatch:
    """One row, or several, for each user; a user whose rows are all refused has an empty one."""
    users = rows.column(USER_ID).dictionary_encode()
    user, n_users = users.indices.to_numpy(), len(users.dictionary)
    valid = np.flatnonzero(pc.is_null(rows.column(REASON)).to_numpy(zero_copy_only=False))
    order, first = _order_ratings(rows.take(pa.array(valid)), user[valid])
    unique, repeated = valid[order[first]], valid[order[~first]]
    owner, piece, length = cut_pieces(np.bincount(user[unique], minlength=n_users))
    n_repeated = np.where(piece == 0, np.bincount(user[repeated], minlength=n_users)[owner], 0)
    item_id, nothing = rows.column(ITEM_ID), len(owner)
    return pa.RecordBatch.from_pydict(
        {
            USER_ID: users.dictionary.take(pa.array(owner)),
            PIECE_NUMBER: pa.array(piece, pa.int32()),
            ITEMS: make_lists(length, item_id.take(pa.array(unique))),
            RATINGS: make_lists(length, rows.column(RATING).take(pa.array(unique))),
            DUPLICATES: make_lists(n_repeated, item_id.take(pa.array(repeated))),
            ITEM_ID: pa.nulls(nothing, item_id.type),
            **{name: pa.nulls(nothing, pa.string()) for name in (REASON, RAW, FILE)},
            **(
                {TIMES: make_lists(length, _read_times(rows).take(pa.array(unique)))}
                if keep_times
                else {}
            ),
            **(
                {
                    RECENT: _list_latest(
                        rows, user, unique, sample.add(users.dictionary), owner, piece
                    )
                }
                if sample is not None
                else {}
            ),
        }
    )


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


def _order_ratings(rows: pa.RecordBatch, user: Int32Array) -> tuple[Int64Array, BoolArray]:
    """The order by user, item and, within these, worth; and which of a (user, item) comes first."""
    items = rows.column(ITEM_ID).dictionary_encode()
    rank = np.empty(len(items.dictionary), dtype=np.int64)
    rank[pc.sort_indices(items.dictionary).to_numpy()] = np.arange(len(rank))
    pair = user.astype(np.int64) * len(rank) + rank[items.indices.to_numpy()]
    order = np.argsort(pair, kind="stable")
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = pair[order[1:]] != pair[order[:-1]]
    if not first.all():  # only now do time and rating matter
        time = _read_times(rows).to_numpy()
        order = np.lexsort((-rows.column(RATING).to_numpy(), -time, pair))
    return order, first


def _read_times(rows: pa.RecordBatch) -> pa.Array:
    return rows.column(TIMESTAMP).cast(pa.float64(), safe=False).fill_null(-np.inf)


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
