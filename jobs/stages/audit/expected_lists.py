"""What the ratings alone say must have been written."""

from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.tables.columns import ITEM_INDEX, USER_ID
from recsys_core.arrays import Int32Array
from recsys_core.ranking.list_rules import ListRules


def expect_lists(
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
