"""Read a staged run back and hold it to what it promises, before anyone else can read it."""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import AuditError
from jobs.schemas import ITEM_ID, USER_ID


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
    written: DataFrame, ratings: DataFrame, *, k: int, n_items: int
) -> RecommendationsAudit:
    """Check the recommendations read back from storage against the ratings they were made from.

    Args:
        written: the staged table.
        ratings: ``IndexedRatings.frame``.

    Raises:
        AuditError: a gap or repetition in ranks, a repeated or seen item, a score that is not
            finite or rises within a list, or a user with another number of rows than promised.
    """
    expected = _expect(ratings, k, n_items)
    found = _inspect(written, ratings)
    problems = {
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
    """What must have been written, from the ratings alone; no exchange, as users stay together."""
    unseen = F.lit(n_items) - F.col("count")
    row = (
        ratings.groupBy(USER_ID)
        .count()
        .agg(
            F.count("*").alias("users"),
            F.count(F.when(unseen > 0, True)).alias("with_list"),
            F.count(F.when(unseen < k, True)).alias("short"),
            F.sum(F.least(unseen, F.lit(k))).alias("rows"),
        )
        .collect()[0]
    )
    return {name: int(row[name]) for name in ("users", "with_list", "short", "rows")}


def _inspect(written: DataFrame, ratings: DataFrame) -> dict[str, int]:
    """What was written, one pass by user; the lists move to where the ratings are."""
    finite = F.col("score").isNotNull() & ~F.isnan("score") & (F.abs("score") < float("inf"))
    rated = ratings.select(USER_ID, ITEM_ID, F.lit(True).alias("rated"))
    by_user = (
        written.join(rated, [USER_ID, ITEM_ID], how="left")
        .groupBy(USER_ID)
        .agg(
            F.sort_array(F.collect_list(F.struct("rank", "score", ITEM_ID))).alias("list"),
            F.count("*").alias("rows"),
            F.count(F.when(~finite, True)).alias("bad_scores"),
            F.count("rated").alias("seen"),
        )
    )
    ranks, scores, items = (F.col(f"list.{name}") for name in ("rank", "score", ITEM_ID))
    gaps = ranks != F.sequence(F.lit(1), F.col("rows").cast("int"))
    repeats = F.size(F.array_distinct(items)) != F.col("rows")
    rising = scores != F.sort_array(scores, asc=False)
    row = by_user.agg(
        F.count("*").alias("users"),
        *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in ("rows", "bad_scores", "seen")),
        F.count(F.when(gaps, True)).alias("gaps"),
        F.count(F.when(repeats, True)).alias("repeats"),
        F.count(F.when(rising, True)).alias("rising"),
    ).collect()[0]
    return {name: int(row[name]) for name in row.asDict()}
