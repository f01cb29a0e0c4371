"""Read a staged run back and hold it to what it promises, before anyone else can read it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import AuditError
from jobs.schemas import ITEM_ID, ITEM_INDEX, RANK, SCORE, SOURCE, USER_ID, Table
from jobs.user_rows import make_lists, whole_users
from recsys_core.arrays import BoolArray, IdArray, Int32Array, Int64Array
from recsys_core.rules import ItemGroups, ListRules

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
        effects: what the scoring says these did (``recsys_core.rules.EFFECTS``).

    Raises:
        AuditError: an unknown, repeated, seen or forbidden item, more of a kind than the rules let
            a list hold, a gap or repetition in ranks, a score that is not finite, below the rules'
            minimum or rises within a list, or another number of rows or users than the ratings,
            less what the rules left empty, promise.
    """
    parts = [ratings] if left_out is None else [ratings, left_out]
    expected = _expect(parts, k, len(item_ids), rules)
    if effects is not None:
        expected["rows"] -= effects["empty_places"]
        expected["with_list"] -= effects["empty_lists"]
    found = _inspect(_with_item_index(written, item_ids), parts, n_partitions, k, rules)
    lowest, highest, content_hash, sources = _summarize(written)
    problems = {
        "rows of an item that is not in the index": found["unknown"],
        "users whose ranks are not 1..n": found["gaps"],
        "users with an item twice": found["repeats"],
        "scores that are null or not finite": found["bad_scores"],
        "users whose scores rise with the rank": found["rising"],
        "recommended items the user has rated": found["seen"],
        "recommended items that rules.allow or rules.block forbid": found["forbidden"],
        "lists with more of a genre or cluster than rules.* allow": found["over_cap"],
        "scores below rules.min_score, or more": int(
            rules is not None and lowest is not None and lowest < rules.min_score
        ),
        "rows missing": max(0, expected["rows"] - found["rows"]),
        "rows too many": max(0, found["rows"] - expected["rows"]),
        "users missing": max(0, expected["with_list"] - found["users"]),
        "users too many": max(0, found["users"] - expected["with_list"]),
    }
    failed = [f"{count:,} {problem}" for problem, count in problems.items() if count]
    if failed:
        raise AuditError(
            f"recommendations failed the audit and were not published: {'; '.join(failed)}"
        )
    items = written.groupBy(ITEM_ID).count().agg(F.count("*"), F.max("count")).collect()[0]
    return RecommendationsAudit(
        rows=found["rows"],
        users=found["users"],
        users_without_list=expected["users"] - found["users"],
        users_with_short_list=expected["users"] - found["full"],
        distinct_items=int(items[0]),
        top_item_lists=int(items[1] or 0),
        min_score=lowest,
        max_score=highest,
        source_users=sources,
        content_hash=content_hash,
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


def _summarize(written: DataFrame) -> tuple[float | None, float | None, str, dict[str, int]]:
    """Lowest and highest score of the model, hash of the rows, users by source."""
    row_hash = F.xxhash64(*written.columns).cast("decimal(20,0)")
    by_source = (
        written.groupBy(SOURCE)
        .agg(
            F.min(SCORE).alias("lowest"),
            F.max(SCORE).alias("highest"),
            F.sum(row_hash).alias("hash"),  # a sum knows no order
            F.count(F.when(F.col(RANK) == 1, True)).alias("users"),
        )
        .collect()
    )
    content_hash = f"{sum(int(row['hash']) for row in by_source) % 2**64:016x}"
    model = next((row for row in by_source if row[SOURCE] == "model"), None)
    sources = {row[SOURCE]: int(row["users"]) for row in by_source}
    if model is None:
        return None, None, content_hash, sources
    return float(model["lowest"]), float(model["highest"]), content_hash, sources


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


def _expect(
    parts: Sequence[DataFrame], k: int, n_items: int, rules: ListRules | None
) -> dict[str, int]:
    """What must have been written, from the ratings alone."""
    allowed = None if rules is None else rules.allowed
    unseen = F.lit(n_items if allowed is None else len(allowed)) - F.col("count")
    rated = reduce(DataFrame.unionAll, [part.select(USER_ID, ITEM_INDEX) for part in parts])
    if allowed is None:
        counted = rated.select(USER_ID, F.size(ITEM_INDEX).alias("n"))
    else:
        counted = _count_allowed(rated, allowed)
    row = (
        counted.groupBy(USER_ID)
        .agg(F.sum("n").alias("count"))
        .agg(
            F.count("*").alias("users"),
            F.count(F.when(unseen > 0, True)).alias("with_list"),
            F.sum(F.least(unseen, F.lit(k))).alias("rows"),
        )
        .collect()[0]
    )
    return {name: int(row[name]) for name in ("users", "with_list", "rows")}


def _count_allowed(rated: DataFrame, allowed: Int32Array) -> DataFrame:
    """user_id, n: for each row of rated items, how many of them may be recommended."""

    def count_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            items = batch.column(ITEM_INDEX)
            row = np.repeat(np.arange(batch.num_rows), items.value_lengths().to_numpy())
            may = np.isin(items.flatten().to_numpy(), allowed)
            n = np.bincount(row[may], minlength=batch.num_rows)
            yield pa.RecordBatch.from_pydict({USER_ID: batch.column(USER_ID), "n": pa.array(n)})

    user_type = rated.schema[USER_ID].dataType.simpleString()
    return rated.mapInArrow(count_partition, f"{USER_ID} {user_type}, n bigint")


def _with_item_index(written: DataFrame, item_ids: IdArray) -> DataFrame:
    id_type = written.schema[ITEM_ID].dataType.simpleString()
    index = pd.DataFrame({ITEM_ID: item_ids, ITEM_INDEX: np.arange(len(item_ids), dtype=np.int32)})
    known = written.sparkSession.createDataFrame(index, f"{ITEM_ID} {id_type}, {ITEM_INDEX} int")
    return written.join(F.broadcast(known), ITEM_ID, how="left")


def _inspect(
    written: DataFrame,
    parts: Sequence[DataFrame],
    n_partitions: int,
    k: int,
    rules: ListRules | None,
) -> dict[str, int]:
    """What was written, list by list."""
    lists = _gather_lists(written, n_partitions, rules).persist()
    try:
        row = lists.agg(
            F.count("*").alias("users"),
            F.count(F.when(F.col("rows") == k, True)).alias("full"),
            *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in _COUNTS),
        ).collect()[0]
        found = {name: int(row[name]) for name in row.asDict()}
        return {**found, "seen": sum(_count_seen(lists, part) for part in parts)}
    finally:
        lists.unpersist()


def _gather_lists(written: DataFrame, n_partitions: int, rules: ListRules | None) -> DataFrame:
    """One row for each user's list: user_id, items (array of item_index), ``_COUNTS``."""
    arranged = (
        written.select(USER_ID, "rank", "score", ITEM_INDEX)
        .repartition(n_partitions, USER_ID)  # Spark's 200 would be 200 starts of Python
        .sortWithinPartitions(USER_ID, "rank")
    )
    user_type = written.schema[USER_ID].dataType.simpleString()
    counts = ", ".join(f"{name} int" for name in _COUNTS)
    known = written.sparkSession.sparkContext.broadcast(rules)

    def check_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for block in whole_users(batches):
            yield _check_lists(block, known.value)

    return arranged.mapInArrow(
        check_partition, f"{USER_ID} {user_type}, items array<int>, {counts}"
    )


def _check_lists(block: pa.RecordBatch, rules: ListRules | None) -> pa.RecordBatch:
    encoded = block.column(USER_ID).dictionary_encode(null_encoding="encode")
    user, n_users = encoded.indices.to_numpy(), len(encoded.dictionary)
    rank = block.column("rank").fill_null(0).to_numpy()
    score = block.column("score").fill_null(np.nan).to_numpy()
    item = block.column(ITEM_INDEX).fill_null(-1).to_numpy()
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


def _count_seen(lists: DataFrame, ratings: DataFrame) -> int:
    """Recommended items that their user has rated, over all pieces of the user's ratings."""
    both = ratings.select(USER_ID, ITEM_INDEX).join(lists, USER_ID, how="inner")
    seen = F.size(F.array_intersect("items", ITEM_INDEX))
    return int(both.agg(F.coalesce(F.sum(seen), F.lit(0))).collect()[0][0])
