"""What each written list is held to, list by list, in Python workers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.ratings.user_rows import make_lists, whole_users
from jobs.tables.columns import ITEM_ID, RANK, SCORE, USER_ID
from recsys_core.arrays import BoolArray, Int32Array, Int64Array
from recsys_core.ranking.list_rules import ItemGroups, ListRules

_COUNTS = ("rows", "bad_scores", "unknown", "forbidden", "gaps", "repeats", "rising", "over_cap")
"""Of a list; the last four are 0 or 1."""


@dataclass(frozen=True)
class PromisedItems:
    """What a list is held to; broadcast once."""

    item_ids: pa.Array
    rules: ListRules | None


def check_lists(written: DataFrame, promised: PromisedItems, n_partitions: int) -> DataFrame:
    """One row for each user's list: user_id, items (array of item_index), ``_COUNTS``."""
    arranged = (
        written.select(USER_ID, RANK, SCORE, ITEM_ID)
        .repartition(n_partitions, USER_ID)  # Spark's 200 would be 200 starts of Python
        .sortWithinPartitions(USER_ID, RANK)
    )
    user_type = written.schema[USER_ID].dataType.simpleString()
    counts = ", ".join(f"{name} int" for name in _COUNTS)
    shipped = written.sparkSession.sparkContext.broadcast(promised)

    def check_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for block in whole_users(batches):
            yield _check_block(block, shipped.value)

    return arranged.mapInArrow(
        check_partition, f"{USER_ID} {user_type}, items array<int>, {counts}"
    )


def sum_checks(lists: DataFrame, k: int) -> dict[str, int]:
    """Users with a list, those of them with a full one of k, and the sums of ``_COUNTS``."""
    row = lists.agg(
        F.count("*").alias("users"),
        F.count(F.when(F.col("rows") == k, True)).alias("full"),
        *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in _COUNTS),
    ).collect()[0]
    return {name: int(row[name]) for name in row.asDict()}


def _check_block(block: pa.RecordBatch, promised: PromisedItems) -> pa.RecordBatch:
    rules = promised.rules
    encoded = block.column(USER_ID).dictionary_encode(null_encoding="encode")
    user, n_users = encoded.indices.to_numpy(), len(encoded.dictionary)
    rank = block.column(RANK).fill_null(0).to_numpy()
    score = block.column(SCORE).fill_null(np.nan).to_numpy()
    index = pc.index_in(block.column(ITEM_ID), value_set=promised.item_ids)
    item = index.fill_null(-1).to_numpy()
    rows = np.bincount(user, minlength=n_users)
    starts = np.cumsum(rows) - rows
    same_user = user[1:] == user[:-1]
    order = np.lexsort((item, user))
    again = same_user & (item[order][1:] == item[order][:-1])  # by user, so runs are the same
    rising = same_user & (score[1:] > score[:-1])
    if rules is not None and not rules.keep_order_of_scores:
        rising[:] = False

    counts = {
        "rows": rows,
        "bad_scores": _count_by(user, ~np.isfinite(score), n_users),
        "unknown": _count_by(user, item < 0, n_users),
        "forbidden": _count_by(user, _is_forbidden(item, rules), n_users),
    }
    faults = {
        "gaps": rank != np.arange(len(user)) - starts[user] + 1,
        "repeats": np.append(again, False),
        "rising": np.append(rising, False),
        "over_cap": np.zeros(len(user), np.bool_)
        if rules is None
        else _is_over_cap(user, item, rules.groups),
    }
    for name, found in faults.items():
        counts[name] = np.minimum(_count_by(user, found, n_users), 1)
    return pa.RecordBatch.from_pydict(
        {
            USER_ID: encoded.dictionary,
            "items": make_lists(rows, pa.array(item)),
            **{name: pa.array(counts[name], pa.int32()) for name in _COUNTS},
        }
    )


def _is_forbidden(item: Int32Array, rules: ListRules | None) -> BoolArray:
    if rules is None or rules.allowed is None:
        return np.zeros(len(item), dtype=np.bool_)
    return (item >= 0) & ~np.isin(item, rules.allowed)


def _is_over_cap(user: Int32Array, item: Int32Array, groups: ItemGroups) -> BoolArray:
    """Of each row, whether its user's list holds more of one of the item's groups than it may."""
    known = np.maximum(item, 0)
    n_groups = np.where(item >= 0, groups.starts[known + 1] - groups.starts[known], 0)
    row = np.repeat(np.arange(len(item)), n_groups)
    within = np.arange(len(row)) - np.repeat(np.cumsum(n_groups) - n_groups, n_groups)
    group = groups.groups[groups.starts[known[row]] + within]
    of_list = user[row].astype(np.int64) * len(groups.cap) + group
    _, place, n_items = np.unique(of_list, return_inverse=True, return_counts=True)
    over = np.zeros(len(item), dtype=np.bool_)
    over[row[n_items[place] > groups.cap[group]]] = True
    return over


def _count_by(user: Int32Array, found: BoolArray, n_users: int) -> Int64Array:
    return np.bincount(user[found], minlength=n_users)
