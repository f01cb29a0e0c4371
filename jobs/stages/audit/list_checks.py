"""Read a staged run back and hold it to what it promises, before anyone else can read it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.errors import AuditError
from jobs.ratings.user_rows import make_lists, whole_users
from jobs.tables.columns import (
    ITEM_ID,
    ITEM_INDEX,
    MODEL_SOURCE,
    POPULARITY_SOURCE,
    RANK,
    SCORE,
    SOURCE,
    USER_ID,
)
from jobs.tables.published import Table
from recsys_core.arrays import BoolArray, IdArray, Int32Array, Int64Array
from recsys_core.ranking.list_rules import ItemGroups, ListRules

_COUNTS = ("rows", "bad_scores", "unknown", "forbidden", "gaps", "repeats", "rising", "over_cap")
"""Of a list; the last four are 0 or 1."""


class FunnelCounts(Protocol):
    """What the audit needs of a step of the cleaning funnel."""

    @property
    def rows(self) -> int: ...

    @property
    def users(self) -> int: ...

    @property
    def items(self) -> int: ...


@dataclass(frozen=True)
class RecommendationsAudit:
    """What the written recommendations hold."""

    rows: int
    users: int
    users_without_list: int
    """Users who have rated every item, or whom the rules leave nothing."""
    users_with_short_list: int
    """Users with fewer than k recommendations, those without a list among them."""
    distinct_items: int
    top_item_lists: int
    """Lists that hold the item recommended most often."""
    min_score: float | None
    """Of the model's rows, as is ``max_score``; None where it has none."""
    max_score: float | None
    source_users: dict[str, int]
    """Users by what made their list: 'model', 'popularity'."""
    content_hash: str
    """Of all rows, whatever their order and files: equal tables have equal hashes."""


def audit_recommendations(
    written: DataFrame,
    ratings: DataFrame,
    item_ids: IdArray,
    *,
    k: int,
    n_partitions: int,
    left_out: DataFrame | None = None,
    rules: ListRules | None = None,
    effects: Mapping[str, int] | None = None,
) -> RecommendationsAudit:
    """Check the recommendations read back from storage against the ratings they were made from.

    Args:
        written: the staged table.
        ratings: ``IndexedRatings.frame``.
        item_ids: item_index -> item_id.
        n_partitions: what the lists are split into to be looked at.
        left_out: ``IndexedRatings.left_out`` where those users were promised lists, else None.
        rules: what the lists were made under; None where there are none.
        effects: what the scoring says these did (``recsys_core.ranking.list_rules.EFFECTS``).

    Raises:
        AuditError: an unknown, repeated, seen or forbidden item, more of a kind than the rules let
            a list hold, a gap or repetition in ranks, a score that is not finite, below the rules'
            minimum or rises within a list, or another number of rows or users than the ratings,
            less what the rules left empty, promise.
    """
    parts = [ratings] if left_out is None else [ratings, left_out]
    lists = _gather_lists(written, _Promised(pa.array(item_ids), rules), n_partitions).persist()
    try:
        found = _inspect(lists, k)
        expected = _compare(lists, parts, k, len(item_ids), rules)
    finally:
        lists.unpersist()
    if effects is not None:
        expected["rows"] -= effects["empty_places"]
        expected["with_list"] -= effects["empty_lists"]
    total = _summarize(written)
    _require_sound(found, expected, total, rules)
    return RecommendationsAudit(
        rows=found["rows"],
        users=found["users"],
        users_without_list=expected["users"] - found["users"],
        users_with_short_list=expected["users"] - found["full"],
        distinct_items=total.items,
        top_item_lists=total.top_item_lists,
        min_score=total.lowest,
        max_score=total.highest,
        source_users=total.source_users,
        content_hash=total.content_hash,
    )


def _require_sound(
    found: Mapping[str, int], expected: Mapping[str, int], total: "_Totals", rules: ListRules | None
) -> None:
    """Name all that is wrong with the lists at once."""
    problems = {
        "rows of an item that is not in the index": found["unknown"],
        "users whose ranks are not 1..n": found["gaps"],
        "users with an item twice": found["repeats"],
        "scores that are null or not finite": found["bad_scores"],
        "users whose scores rise with the rank": found["rising"],
        "recommended items the user has rated": expected["seen"],
        "recommended items that rules.allow or rules.block forbid": found["forbidden"],
        "lists with more of a genre or cluster than rules.* allow": found["over_cap"],
        "scores below rules.min_score, or more": int(
            rules is not None and total.lowest is not None and total.lowest < rules.min_score
        ),
        "rows from neither model nor popularity": total.strange_sources,
        "rows missing": max(0, expected["rows"] - found["rows"]),
        "rows too many": max(0, found["rows"] - expected["rows"]),
        "users missing": max(0, expected["with_list"] - found["users"]),
        "users too many": max(0, found["users"] - expected["with_list"]),
        "lists of users without a rating": found["users"] - expected["listed"],
    }
    failed = [f"{count:,} {problem}" for problem, count in problems.items() if count]
    if failed:
        raise AuditError(
            f"recommendations failed the audit and were not published: {'; '.join(failed)}"
        )


def audit_excluded(excluded: DataFrame, funnel: Sequence[FunnelCounts]) -> dict[str, int]:
    """Hold the written table of what was left out to the input: every row, user and item once.

    Args:
        excluded: the staged table.
        funnel: the first and the last step.

    Returns:
        How many rows, users and items were left out.

    Raises:
        AuditError: what came in is not what was kept and what was left out.
    """
    counts = {
        row["kind"]: int(row["n"])
        for row in excluded.groupBy("kind")
        .agg(F.sum(F.when(F.col("kind") == "rows", F.col("rating_count")).otherwise(1)).alias("n"))
        .collect()
    }
    came, kept = funnel
    for kind, before, after in (
        ("rows", came.rows, kept.rows),
        ("user", came.users, kept.users),
        ("item", came.items, kept.items),
    ):
        if before != after + counts.get(kind, 0):
            raise AuditError(
                f"excluded does not reconcile: {before:,} of kind '{kind}' came in, {after:,} were "
                f"kept and {counts.get(kind, 0):,} are listed as left out; nothing was published"
            )
    return counts


@dataclass(frozen=True)
class _Totals:
    """Sums over all rows."""

    items: int
    top_item_lists: int
    lowest: float | None
    """Score of the model, as is ``highest``."""
    highest: float | None
    content_hash: str
    source_users: dict[str, int]
    strange_sources: int
    """Rows whose source is none that the job knows."""


def _summarize(written: DataFrame) -> _Totals:
    """One pass over the rows, by item and then over all."""
    is_from = {name: F.col(SOURCE).eqNullSafe(name) for name in (MODEL_SOURCE, POPULARITY_SOURCE)}
    model_score = F.when(is_from[MODEL_SOURCE], F.col(SCORE))
    row_hash = F.xxhash64(*written.columns)
    by_item = written.groupBy(ITEM_ID).agg(
        F.count("*").alias("rows"),
        F.min(model_score).alias("lowest"),
        F.max(model_score).alias("highest"),
        # A sum knows no order. In halves, as integers are: sums of whole hashes would overflow.
        F.sum(F.shiftright(row_hash, 32)).alias("high_half"),
        F.sum(row_hash.bitwiseAND(0xFFFF_FFFF)).alias("low_half"),
        F.count(F.when(~reduce(Column.__or__, is_from.values()), True)).alias("strange"),
        *(
            F.count(F.when(found & (F.col(RANK) == 1), True)).alias(name)
            for name, found in is_from.items()
        ),
    )
    sums = ("high_half", "low_half", "strange", *is_from)
    row = by_item.agg(
        F.count("*").alias("items"),
        F.max("rows").alias("top"),
        F.min("lowest").alias("lowest"),
        F.max("highest").alias("highest"),
        *(F.sum(F.col(name).cast("decimal(20,0)")).alias(name) for name in sums),
    ).collect()[0]
    content_hash = (int(row["high_half"] or 0) << 32) + int(row["low_half"] or 0)
    return _Totals(
        items=int(row["items"]),
        top_item_lists=int(row["top"] or 0),
        lowest=None if row["lowest"] is None else float(row["lowest"]),
        highest=None if row["highest"] is None else float(row["highest"]),
        content_hash=f"{content_hash % 2**64:016x}",
        source_users={name: int(row[name]) for name in is_from if row[name]},
        strange_sources=int(row["strange"] or 0),
    )


def audit_columns(table: Table, written: DataFrame) -> None:
    """Hold a staged table to its columns, in order, and their types: the contract of its readers.

    Raises:
        AuditError: names the table, what was written and what was promised.
    """
    found = [(field.name, field.dataType.simpleString()) for field in written.schema.fields]
    promised = [(column.name, column.type or "bigint or string") for column in table.columns]
    kept = len(found) == len(promised) and all(
        name == expected and kind in wanted.split(" or ")
        for (name, kind), (expected, wanted) in zip(found, promised, strict=True)
    )
    if not kept:
        raise AuditError(
            f"{table.name} has the columns {_list_columns(found)}, promised are "
            f"{_list_columns(promised)}; nothing was published"
        )


def _list_columns(columns: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns)


def audit_rows(name: str, written: DataFrame, expected: int) -> int:
    """The number of rows of another staged table, which must be as ``expected``."""
    rows = written.count()
    if rows != expected:
        raise AuditError(
            f"{name} holds {rows:,} rows, expected {expected:,}; nothing was published"
        )
    return rows


def _compare(
    lists: DataFrame, parts: Sequence[DataFrame], k: int, n_items: int, rules: ListRules | None
) -> dict[str, int]:
    """What the ratings alone say must have been written, and what they say of what was.

    Returns:
        users, of these with_list who are to have one, and its rows; listed, the users who have
        one; seen, the recommended items that their user has rated.
    """
    allowed = None if rules is None else rules.allowed
    rated = reduce(DataFrame.unionAll, [part.select(USER_ID, ITEM_INDEX) for part in parts])
    counted = (
        rated.withColumn("n", F.size(ITEM_INDEX))
        if allowed is None
        else _count_allowed(rated, allowed)
    )
    seen = F.array_intersect("items", ITEM_INDEX)
    by_user = (
        counted.join(lists.select(USER_ID, "items"), USER_ID, how="left")
        .groupBy(USER_ID)  # the ratings of a user are several rows where they are many
        .agg(
            F.sum("n").alias("n"),
            F.count("items").alias("lists"),
            # The size of null is -1 where Spark is not in its ANSI mode.
            F.sum(F.when(F.col("items").isNotNull(), F.size(seen))).alias("seen"),
        )
    )
    unseen = F.lit(n_items if allowed is None else len(allowed)) - F.col("n")
    row = by_user.agg(
        F.count("*").alias("users"),
        F.count(F.when(unseen > 0, True)).alias("with_list"),
        F.sum(F.least(unseen, F.lit(k))).alias("rows"),
        F.count(F.when(F.col("lists") > 0, True)).alias("listed"),
        F.sum("seen").alias("seen"),
    ).collect()[0]
    return {name: int(row[name] or 0) for name in row.asDict()}


def _count_allowed(rated: DataFrame, allowed: Int32Array) -> DataFrame:
    """``rated`` with n: for each row of rated items, how many of them may be recommended."""

    def count_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            items = batch.column(ITEM_INDEX)
            row = np.repeat(np.arange(batch.num_rows), items.value_lengths().to_numpy())
            may = np.isin(items.flatten().to_numpy(), allowed)
            n = np.bincount(row[may], minlength=batch.num_rows)
            yield batch.append_column("n", pa.array(n))

    user_type = rated.schema[USER_ID].dataType.simpleString()
    schema = f"{USER_ID} {user_type}, {ITEM_INDEX} array<int>, n bigint"
    return rated.mapInArrow(count_partition, schema)


def _inspect(lists: DataFrame, k: int) -> dict[str, int]:
    """What was written, list by list."""
    row = lists.agg(
        F.count("*").alias("users"),
        F.count(F.when(F.col("rows") == k, True)).alias("full"),
        *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in _COUNTS),
    ).collect()[0]
    return {name: int(row[name]) for name in row.asDict()}


@dataclass(frozen=True)
class _Promised:
    """What a list is held to; broadcast once."""

    item_ids: pa.Array
    rules: ListRules | None


def _gather_lists(written: DataFrame, promised: _Promised, n_partitions: int) -> DataFrame:
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
            yield _check_lists(block, shipped.value)

    return arranged.mapInArrow(
        check_partition, f"{USER_ID} {user_type}, items array<int>, {counts}"
    )


def _check_lists(block: pa.RecordBatch, promised: _Promised) -> pa.RecordBatch:
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
