"""Count a run's tables for the report with Spark: a few aggregations of one column each."""

from functools import reduce
from typing import Any

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.ratings.recent import order_users
from jobs.report.figures.parts import MAX_SAMPLED_RANKS, SCORE_BINS, ListCounts, UserCounts
from jobs.tables.columns import (
    ITEM_ID,
    PLACE,
    RANK,
    RATING,
    REASON,
    SCORE,
    SOURCE,
    TIMESTAMP,
    TITLE,
    USER_ID,
)
from jobs.tables.published import MAX_SAMPLED_USERS


def count_lists(
    lists: DataFrame,
    before: DataFrame | None,
    excluded: DataFrame,
    *,
    limits: tuple[float, float] | None,
    users: list[Any],
    recent: DataFrame,
) -> ListCounts:
    """What the report needs of the published tables.

    Args:
        lists: ``RECOMMENDATIONS`` of the run.
        before: of the run it is compared with.
        excluded: ``EXCLUDED`` of the run.
        limits: lowest and highest score of the model's rows.
        users: from ``sample_users``.
        recent: ``RECENT_RATINGS`` of the run, which has these users.
    """
    return ListCounts(
        items=_count_items(lists, before),
        places=_count_places(lists, limits),
        excluded=_count_excluded(excluded),
        sample=_sample_lists(lists, users),
        recent=_list_recent(recent),
        users=None if before is None else _count_users(lists, before),
    )


def _count_items(lists: DataFrame, before: DataFrame | None) -> pd.DataFrame:
    sides = [_mark(lists, "lists", ITEM_ID)]
    if before is not None:
        sides.append(_mark(before, "lists_before", ITEM_ID))
    counted = (
        reduce(DataFrame.unionAll, sides)
        .groupBy(ITEM_ID)
        .agg(F.sum("lists").alias("lists"), F.sum("lists_before").alias("lists_before"))
    )
    return counted.toPandas().sort_values(ITEM_ID, ignore_index=True)


def _mark(table: DataFrame, own: str, key: str) -> DataFrame:
    """The ids of ``key`` as text, so that those of two runs compare, and a 1 in column ``own``."""
    marks = (
        F.lit(int(side == own)).cast("bigint").alias(side) for side in ("lists", "lists_before")
    )
    return table.select(_as_text(key), *marks)


def _count_places(lists: DataFrame, limits: tuple[float, float] | None) -> pd.DataFrame:
    by_bin = F.lit(-1)
    if limits is not None and limits[0] < limits[1]:
        low, high = limits
        place = F.floor((F.col(SCORE).cast("double") - low) / (high - low) * SCORE_BINS)
        by_bin = F.least(place, F.lit(SCORE_BINS - 1)).cast("int")
    elif limits is not None:
        by_bin = F.lit(0)
    counted = (
        lists.select(
            SOURCE,
            RANK,
            F.when(F.col(SOURCE) == "model", by_bin).otherwise(F.lit(-1)).alias("score_bin"),
        )
        .groupBy(SOURCE, RANK, "score_bin")
        .agg(F.count("*").alias("rows"))
    )
    return counted.toPandas().sort_values([SOURCE, RANK, "score_bin"], ignore_index=True)


def _count_excluded(excluded: DataFrame) -> pd.DataFrame:
    counted = excluded.groupBy("kind", REASON).agg(
        F.count("*").alias("entries"), F.sum("rating_count").alias("ratings")
    )
    return counted.toPandas().sort_values(["kind", REASON], ignore_index=True)


def sample_users(lists: DataFrame) -> list[Any]:
    """The users that the report shows: those with a list whose ids have the lowest checksums."""
    first = lists.where(F.col(RANK) == 1).select(USER_ID)
    taken = first.orderBy(*order_users()).limit(MAX_SAMPLED_USERS)
    return [row[0] for row in taken.collect()]


def _sample_lists(lists: DataFrame, users: list[Any]) -> pd.DataFrame:
    """The tops of the users' lists."""
    wanted = F.col(USER_ID).isin(users) & (F.col(RANK) <= MAX_SAMPLED_RANKS)
    rows = lists.where(wanted).select(_as_text(USER_ID), RANK, _as_text(ITEM_ID), SOURCE)
    return rows.toPandas().sort_values([USER_ID, RANK], ignore_index=True)


def _list_recent(recent: DataFrame) -> pd.DataFrame:
    rows = recent.select(
        *(_as_text(USER_ID), PLACE, _as_text(ITEM_ID), TITLE, RATING),
        F.col(TIMESTAMP).isNotNull().alias("timed"),
    )
    return rows.toPandas().sort_values([USER_ID, PLACE], ignore_index=True)


def _as_text(key: str) -> Column:
    return F.col(key).cast("string").alias(key)


def _count_users(lists: DataFrame, before: DataFrame) -> UserCounts:
    """Who has a list has a first place in it."""
    sides = [
        _mark(table.where(F.col(RANK) == 1), own, USER_ID)
        for table, own in ((lists, "lists"), (before, "lists_before"))
    ]
    row = (
        reduce(DataFrame.unionAll, sides)
        .groupBy(USER_ID)
        .agg(F.max("lists").alias("now"), F.max("lists_before").alias("before"))
        .agg(
            F.sum("now").alias("now"),
            F.sum("before").alias("before"),
            F.sum(F.col("now") * F.col("before")).alias("both"),
        )
        .collect()[0]
    )
    return UserCounts(*(int(row[name] or 0) for name in ("now", "before", "both")))
