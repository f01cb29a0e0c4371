"""Who and what is left out, and why: the rows of the table ``excluded``."""

from collections.abc import Mapping
from itertools import pairwise

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.ratings.cleaning_rules import QUARANTINED, UNIQUE, CleaningRules
from jobs.ratings.funnel import FunnelStep
from jobs.tables.columns import ITEM_ID, ITEM_INDEX, PIECE_NUMBER, REASON, USER_ID
from recsys_core.arrays import Int32Array


def list_excluded_items(
    items: pd.DataFrame, passed: Int32Array, stays: pd.Series, rules: CleaningRules
) -> pd.DataFrame:
    """item_id, reason, rating_count of the items of the input that do not stay.

    Args:
        items: of ``count_items``.
        passed: of each row of ``items``, how many item rules it passes.
        stays: of each row of ``items``, whether it is an item of the input that stays.
    """
    reasons = [*(step.reason for step in rules.item_steps), "no rating by the users kept"]
    dropped = items.assign(**{REASON: [reasons[n] for n in passed]})
    dropped = dropped[items[ITEM_ID].notna() & (items["rows"] > 0) & ~stays]
    rated = dropped["rating_count"] > 0
    return pd.DataFrame(
        {
            ITEM_ID: dropped[ITEM_ID],
            REASON: dropped[REASON].where(rated, QUARANTINED),
            "rating_count": dropped["rating_count"].astype("int64"),
        }
    )


def list_excluded(
    items: pd.DataFrame,
    funnel: list[FunnelStep],
    refused: Mapping[str, int],
    kept: DataFrame,
    rules: CleaningRules,
) -> DataFrame:
    """``CleanRatings.excluded``: the rows lost, the excluded items, the users without a rating.

    Args:
        items: of ``list_excluded_items``.
        refused: of ``RowAccount``.
        kept: ``CleanRatings.ratings``.
    """
    lost = _list_lost_rows(funnel, refused, rules).assign(kind="rows", id=None)
    named = items.assign(kind="item", id=items[ITEM_ID].astype(str))
    columns = ["kind", "id", REASON, "rating_count"]
    rows = pd.concat([lost[columns], named[columns]])
    schema = f"kind string, id string, {REASON} string, rating_count bigint"
    users = _list_users(kept, rules)
    return kept.sparkSession.createDataFrame(rows, schema=schema).unionAll(users)


def _list_lost_rows(
    funnel: list[FunnelStep], refused: Mapping[str, int], rules: CleaningRules
) -> pd.DataFrame:
    """reason, rating_count: the rows each rule took; with those kept they are all of the input."""
    lost = {f"{QUARANTINED}: {reason}": count for reason, count in refused.items()}
    reasons = rules.explain_lost_rows()
    for before, step in pairwise(funnel):
        if step.step in reasons:
            lost[reasons[step.step]] = before.rows - step.rows
    rows = [(reason, count) for reason, count in lost.items() if count]
    return pd.DataFrame(rows, columns=[REASON, "rating_count"])


def _list_users(kept: DataFrame, rules: CleaningRules) -> DataFrame:
    """kind, id, reason, rating_count of the users that no rating is left of."""
    reason = (
        F.when(F.col(UNIQUE) == 0, QUARANTINED)
        .when(F.col(rules.user_steps[-1]) == 0, "no rating of the items kept")
        .otherwise(F.lit(rules.few_ratings))
    )
    return kept.where((F.col(PIECE_NUMBER) == 0) & (F.size(ITEM_INDEX) == 0)).select(
        F.lit("user").alias("kind"),
        F.col(USER_ID).cast("string").alias("id"),
        reason.alias(REASON),
        F.col(UNIQUE).cast("bigint").alias("rating_count"),
    )
