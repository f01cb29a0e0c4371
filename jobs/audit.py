"""Read a staged run back and hold it to what it promises, before anyone else can read it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import AuditError
from jobs.schemas import ITEM_ID, ITEM_INDEX, USER_ID
from recsys_core.arrays import IdArray

_SUMMED = ("rows", "bad_scores", "unknown")


@dataclass(frozen=True)
class RecommendationsAudit:
    """What the written recommendations hold."""

    rows: int
    users: int
    users_without_list: int
    """Users who have rated every item."""
    users_with_short_list: int
    """Users with fewer than k unseen items, those without a list among them."""
    distinct_items: int


def audit_recommendations(
    written: DataFrame, ratings: DataFrame, item_ids: IdArray, *, k: int
) -> RecommendationsAudit:
    """Check the recommendations read back from storage against the ratings they were made from.

    Args:
        written: the staged table.
        ratings: ``IndexedRatings.frame``.
        item_ids: item_index -> item_id.

    Raises:
        AuditError: an unknown, repeated or seen item, a gap or repetition in ranks, a score that is
            not finite or rises within a list, or a user with another number of rows than promised.
    """
    expected = _expect(ratings, k, len(item_ids))
    found = _inspect(_with_item_index(written, item_ids), ratings)
    problems = {
        "rows of an item that is not in the index": found["unknown"],
        "users whose ranks are not 1..n": found["gaps"],
        "users with an item twice": found["repeats"],
        "scores that are null or not finite": found["bad_scores"],
        "users whose scores rise with the rank": found["rising"],
        "recommended items the user has rated": found["seen"],
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
    return RecommendationsAudit(
        rows=found["rows"],
        users=found["users"],
        users_without_list=expected["users"] - expected["with_list"],
        users_with_short_list=expected["short"],
        distinct_items=written.select(ITEM_ID).distinct().count(),
    )


def audit_rows(name: str, written: DataFrame, expected: int) -> int:
    """The number of rows of another staged table, which must be as ``expected``."""
    rows = written.count()
    if rows != expected:
        raise AuditError(
            f"{name} holds {rows:,} rows, expected {expected:,}; nothing was published"
        )
    return rows


def _expect(ratings: DataFrame, k: int, n_items: int) -> dict[str, int]:
    """What must have been written, from the ratings alone."""
    unseen = F.lit(n_items) - F.col("count")
    row = (
        ratings.groupBy(USER_ID)
        .agg(F.sum(F.size(ITEM_INDEX)).alias("count"))
        .agg(
            F.count("*").alias("users"),
            F.count(F.when(unseen > 0, True)).alias("with_list"),
            F.count(F.when(unseen < k, True)).alias("short"),
            F.sum(F.least(unseen, F.lit(k))).alias("rows"),
        )
        .collect()[0]
    )
    return {name: int(row[name]) for name in ("users", "with_list", "short", "rows")}


def _with_item_index(written: DataFrame, item_ids: IdArray) -> DataFrame:
    id_type = written.schema[ITEM_ID].dataType.simpleString()
    index = pd.DataFrame({ITEM_ID: item_ids, ITEM_INDEX: np.arange(len(item_ids), dtype=np.int32)})
    known = written.sparkSession.createDataFrame(index, f"{ITEM_ID} {id_type}, {ITEM_INDEX} int")
    return written.join(F.broadcast(known), ITEM_ID, how="left")


def _inspect(written: DataFrame, ratings: DataFrame) -> dict[str, int]:
    """What was written, list by list."""
    lists = _gather_lists(written).persist()
    try:
        seen = _count_seen(
            lists.select(USER_ID, F.col(f"list.{ITEM_INDEX}").alias("items")), ratings
        )
        return {**_count_faults(lists), "seen": seen}
    finally:
        lists.unpersist()


def _gather_lists(written: DataFrame) -> DataFrame:
    """One row for each user's list."""
    finite = F.col("score").isNotNull() & ~F.isnan("score") & (F.abs("score") < float("inf"))
    return written.groupBy(USER_ID).agg(
        F.sort_array(F.collect_list(F.struct("rank", "score", ITEM_INDEX))).alias("list"),
        F.count("*").alias("rows"),
        F.count(F.when(~finite, True)).alias("bad_scores"),
        F.count(F.when(F.col(ITEM_INDEX).isNull(), True)).alias("unknown"),
    )


def _count_faults(lists: DataFrame) -> dict[str, int]:
    ranks, scores, items = (F.col(f"list.{name}") for name in ("rank", "score", ITEM_INDEX))
    gaps = ranks != F.sequence(F.lit(1), F.col("rows").cast("int"))
    repeats = F.size(F.array_distinct(items)) != F.col("rows")
    rising = scores != F.sort_array(scores, asc=False)
    row = lists.agg(
        F.count("*").alias("users"),
        *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in _SUMMED),
        F.count(F.when(gaps, True)).alias("gaps"),
        F.count(F.when(repeats, True)).alias("repeats"),
        F.count(F.when(rising, True)).alias("rising"),
    ).collect()[0]
    return {name: int(row[name]) for name in row.asDict()}


def _count_seen(lists: DataFrame, ratings: DataFrame) -> int:
    """Recommended items that their user has rated, over all pieces of the user's ratings."""
    both = ratings.select(USER_ID, ITEM_INDEX).join(lists, USER_ID, how="inner")
    seen = F.size(F.array_intersect("items", ITEM_INDEX))
    return int(both.agg(F.coalesce(F.sum(seen), F.lit(0))).collect()[0][0])
