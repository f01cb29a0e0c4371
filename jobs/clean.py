"""Drop what should not train a model, and account for every row.

The rules, in order; each applies once, to what the one before it left:

    valid      rows that ``jobs/read`` refused are quarantined
    unique     of several ratings by one user of one item the latest counts; where times are equal
               or missing, the highest rating (file order is not defined in Spark)
    popular    items with fewer than ``min_item_ratings`` ratings go
    liked      items with a mean rating below ``min_item_mean_rating`` go
    active     users with fewer than ``min_user_ratings`` of the remaining ratings go

The ratings cross the network once: partitioned by user and sorted within a partition, then cached.
Everything here and in scoring runs on that arrangement; only counts for each item are shuffled
again. ``CleanRatings.ratings.explain()`` shows one Exchange, below the cache.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise

import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from jobs.config import CleanConfig
from jobs.errors import InputError
from jobs.schemas import FILE, ITEM_ID, RATING, RAW, REASON, TIMESTAMP, USER_ID

DUPLICATE = "duplicate"
_STAGE = "stage"  # of an item: how many item rules it passes, 0 to 2
_MEAN_DECIMALS = 9
"""Means are rounded before they are compared: a sum's last digits depend on the partitioning."""


@dataclass(frozen=True)
class FunnelStep:
    """What is left after one rule."""

    step: str
    rule: str
    rows: int
    users: int
    items: int


@dataclass(frozen=True)
class RowAccount:
    """Every input row and what became of it."""

    frame: DataFrame
    """Cached, partitioned and sorted by user, then item: the columns of ``jobs.read`` less the
    timestamp; ``reason`` is null where a row is valid and unique."""
    refused: dict[str, int]
    """Quarantined rows by reason, the most frequent first."""

    @property
    def quarantine(self) -> DataFrame:
        """raw, file, reason of the refused rows."""
        return self.frame.where(~_is_valid()).select(RAW, FILE, REASON)


@dataclass(frozen=True)
class CleanRatings:
    """Ratings fit for training, and who was left out."""

    ratings: DataFrame
    """user_id, item_id, rating (double); one row for a (user, item); partitioned and sorted as the
    ``RowAccount`` it is made from."""
    items: pd.DataFrame
    """item_id (ascending), rating_count, mean_rating of ``ratings``."""
    funnel: list[FunnelStep]
    excluded: DataFrame
    """kind, id, reason, rating_count: users and items with valid ratings that are left out."""
    excluded_items: pd.DataFrame
    """item_id, reason, rating_count: the items among them, on the driver."""


def account_rows(rows: DataFrame, n_partitions: int) -> RowAccount:
    """Partition the rows of ``jobs.read.read_ratings`` by user, and settle the fate of each."""
    frame = _arrange(rows, n_partitions).persist(StorageLevel.MEMORY_AND_DISK)
    return RowAccount(frame, _count_refused(frame))


def clean_ratings(rows: RowAccount, config: CleanConfig) -> CleanRatings:
    """Apply the rules of this module.

    Raises:
        InputError: no row is valid, or the rules leave none; says which rule and how many there
            were before it.
    """
    account, spark = rows.frame, rows.frame.sparkSession
    items = _count_items(account)
    _require_rows(int(items["rows"].sum()), int(items["valid"].sum()), rows.refused)
    items[_STAGE] = _pass_item_rules(items, config)
    kept = _kept_ratings(spark, account, items, config)
    users = _count_users(spark, account, items, config)
    funnel = _make_funnel(items, users, config)
    _require_survivors(funnel)
    survivors = _final_items(kept, items, config)
    funnel[-1] = FunnelStep(**{**asdict(funnel[-1]), "items": len(survivors)})
    dropped = _excluded_items(items, survivors, config)
    excluded = _list_excluded(dropped, _ratings_by_user(spark, account, items, config), config)
    return CleanRatings(kept, survivors, funnel, excluded, dropped)


def _arrange(rows: DataFrame, n_partitions: int) -> DataFrame:
    """Partition by user, sort, and mark all but one row of each (user, item) as duplicates."""
    valid = F.col(REASON).isNull()
    # Valid rows first: a refused row must not displace a good one of the same user and item.
    order = [valid.desc(), F.col(TIMESTAMP).desc_nulls_last(), F.col(RATING).desc()]
    place = F.row_number().over(Window.partitionBy(USER_ID, ITEM_ID).orderBy(*order))
    return (
        rows.repartition(n_partitions, USER_ID)
        .withColumn("place", place)
        .withColumn(
            REASON, F.when(valid & (F.col("place") > 1), DUPLICATE).otherwise(F.col(REASON))
        )
        .drop("place", TIMESTAMP)
    )


def _count(condition: Column) -> Column:
    return F.count(F.when(condition, True))


def _is_valid() -> Column:
    return F.col(REASON).isNull() | (F.col(REASON) == DUPLICATE)


def _count_refused(account: DataFrame) -> dict[str, int]:
    rows = account.where(~_is_valid()).groupBy(REASON).count().collect()
    return {row[REASON]: row["count"] for row in sorted(rows, key=lambda row: -row["count"])}


def _count_items(account: DataFrame) -> pd.DataFrame:
    """item_id (ascending, null first), rows, valid, rating_count, mean_rating; to the driver."""
    unique = F.col(REASON).isNull()
    counts = account.groupBy(ITEM_ID).agg(
        F.count("*").alias("rows"),
        _count(_is_valid()).alias("valid"),
        _count(unique).alias("rating_count"),
        F.round(F.avg(F.when(unique, F.col(RATING))), _MEAN_DECIMALS).alias("mean_rating"),
    )
    items: pd.DataFrame = counts.toArrow().to_pandas(integer_object_nulls=True)
    return items.sort_values(ITEM_ID, na_position="first", ignore_index=True)


def _require_rows(n_rows: int, n_valid: int, refused: dict[str, int]) -> None:
    if n_rows == 0:
        raise InputError("input.ratings holds a header and no rows")
    if n_valid == 0:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in list(refused.items())[:3])
        raise InputError(f"none of the {n_rows:,} rows of input.ratings is valid: {reasons}")


def _pass_item_rules(items: pd.DataFrame, config: CleanConfig) -> pd.Series:
    """How many of the two item rules each item passes, in order."""
    popular = items["rating_count"] >= config.min_item_ratings
    liked = items["mean_rating"].astype("float64") >= config.min_item_mean_rating
    known = items[ITEM_ID].notna()
    return (known & popular).astype("int32") + (known & popular & liked).astype("int32")


def _with_stage(spark: SparkSession, account: DataFrame, items: pd.DataFrame) -> DataFrame:
    """The unique ratings with their item's stage; narrow, as the items are broadcast."""
    schema = f"{ITEM_ID} {account.schema[ITEM_ID].dataType.simpleString()}, {_STAGE} int"
    known = items.loc[items[ITEM_ID].notna(), [ITEM_ID, _STAGE]]
    stages: DataFrame = spark.createDataFrame(known, schema=schema)
    return account.where(F.col(REASON).isNull()).join(F.broadcast(stages), ITEM_ID, how="inner")


def _kept_ratings(
    spark: SparkSession, account: DataFrame, items: pd.DataFrame, config: CleanConfig
) -> DataFrame:
    kept = _with_stage(spark, account, items[items[_STAGE] == 2])
    if config.min_user_ratings > 1:
        by_user = F.count("*").over(Window.partitionBy(USER_ID))
        kept = kept.withColumn("by_user", by_user).where(
            F.col("by_user") >= config.min_user_ratings
        )
    return kept.select(USER_ID, ITEM_ID, RATING)


def _count_users(
    spark: SparkSession, account: DataFrame, items: pd.DataFrame, config: CleanConfig
) -> dict[str, tuple[int, int]]:
    """(rows, users) of each funnel step; a user counts where any of its rows is in the step."""
    # No exchange: the account is partitioned by user, and one user's counts stay together.
    rows_of_user = account.where(F.col(USER_ID).isNotNull()).groupBy(USER_ID)
    seen = rows_of_user.agg(F.count("*").alias("input"), _count(_is_valid()).alias("valid"))
    staged = _ratings_by_user(spark, account, items, config)
    totals = {}
    for frame in (seen, staged):
        steps = [name for name in frame.columns if name != USER_ID]
        sums = [F.sum(name).alias(f"{name}_rows") for name in steps]
        users = [_count(F.col(name) > 0).alias(f"{name}_users") for name in steps]
        row = frame.agg(*sums, *users).collect()[0]
        for name in steps:
            totals[name] = (int(row[f"{name}_rows"] or 0), int(row[f"{name}_users"]))
    totals["input"] = (int(items["rows"].sum()), totals["input"][1])  # rows without a user too
    return totals


def _ratings_by_user(
    spark: SparkSession, account: DataFrame, items: pd.DataFrame, config: CleanConfig
) -> DataFrame:
    """user_id and its ratings that are unique, popular, liked, active."""
    by_user = (
        _with_stage(spark, account, items)
        .groupBy(USER_ID)
        .agg(
            F.count("*").alias("unique"),
            _count(F.col(_STAGE) >= 1).alias("popular"),
            _count(F.col(_STAGE) >= 2).alias("liked"),
        )
    )
    is_active = F.col("liked") >= config.min_user_ratings
    return by_user.select("*", F.when(is_active, F.col("liked")).otherwise(0).alias("active"))


def _make_funnel(
    items: pd.DataFrame, users: dict[str, tuple[int, int]], config: CleanConfig
) -> list[FunnelStep]:
    known = items[ITEM_ID].notna()
    n_items = {
        "input": known.sum(),
        "valid": (known & (items["valid"] > 0)).sum(),
        "unique": (items["rating_count"] > 0).sum(),
        "popular": (items[_STAGE] >= 1).sum(),
        "liked": (items[_STAGE] >= 2).sum(),
        "active": (items[_STAGE] >= 2).sum(),
    }
    rules = {
        "input": "rows read",
        "valid": "rows that parse, with a rating in range",
        "unique": "latest rating of each user and item",
        "popular": f"items with at least {config.min_item_ratings} ratings",
        "liked": f"items with a mean rating of at least {config.min_item_mean_rating:g}",
        "active": f"users with at least {config.min_user_ratings} ratings",
    }
    return [FunnelStep(step, rules[step], *users[step], int(n_items[step])) for step in rules]


def _require_survivors(funnel: list[FunnelStep]) -> None:
    for before, step in pairwise(funnel):
        if step.rows == 0:
            raise InputError(
                f"no rating is left after the rule '{step.rule}': {before.rows:,} ratings, "
                f"{before.users:,} users and {before.items:,} items came to it; relax clean.*"
            )


def _final_items(kept: DataFrame, items: pd.DataFrame, config: CleanConfig) -> pd.DataFrame:
    """item_id, rating_count, mean_rating of the kept ratings."""
    columns = [ITEM_ID, "rating_count", "mean_rating"]
    if config.min_user_ratings > 1:
        # Users have left, and with them ratings: count again.
        items = (
            kept.groupBy(ITEM_ID)
            .agg(
                F.count("*").alias("rating_count"),
                F.round(F.avg(RATING), _MEAN_DECIMALS).alias("mean_rating"),
            )
            .toArrow()
            .to_pandas()
            .sort_values(ITEM_ID)
        )
    else:
        items = items[items[_STAGE] == 2]
    dtypes = {"rating_count": "int64", "mean_rating": "float64"}
    return items[columns].astype(dtypes).reset_index(drop=True)


def _excluded_items(
    items: pd.DataFrame, survivors: pd.DataFrame, config: CleanConfig
) -> pd.DataFrame:
    """item_id, reason, rating_count of items that have unique ratings and do not survive."""
    dropped = items[(items["rating_count"] > 0) & ~items[ITEM_ID].isin(survivors[ITEM_ID])]
    reasons = {
        0: f"fewer than {config.min_item_ratings} ratings",
        1: f"mean rating below {config.min_item_mean_rating:g}",
        2: "no rating by the users kept",
    }
    return pd.DataFrame(
        {
            ITEM_ID: dropped[ITEM_ID],
            REASON: dropped[_STAGE].map(reasons),
            "rating_count": dropped["rating_count"].astype("int64"),
        }
    )


def _list_excluded(items: pd.DataFrame, by_user: DataFrame, config: CleanConfig) -> DataFrame:
    """The excluded items, and the users of ``_ratings_by_user`` that no rating is left of."""
    inactive = F.lit(f"fewer than {config.min_user_ratings} ratings of the items kept")
    users = by_user.where(F.col("active") == 0).select(
        F.lit("user").alias("kind"),
        F.col(USER_ID).cast("string").alias("id"),
        F.when(F.col("liked") == 0, "no rating of the items kept")
        .otherwise(inactive)
        .alias(REASON),
        F.col("unique").alias("rating_count"),
    )
    rows = items.assign(kind="item", id=items[ITEM_ID].astype(str))
    schema = "kind string, id string, reason string, rating_count bigint"
    columns = ["kind", "id", REASON, "rating_count"]
    return by_user.sparkSession.createDataFrame(rows[columns], schema=schema).unionAll(users)
