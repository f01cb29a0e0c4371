"""The tables of a run as Spark's frames, counted for its report in Python workers."""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_type

from jobs.report.counting.aggregations import Aggregation, aggregate, merge_parts
from jobs.report.counting.counts import UserCounts
from jobs.tables.columns import RANK, USER_ID
from jobs.tables.published import RECOMMENDATIONS, Table


class SparkTables:
    """As ``jobs.report.counting.count_run.RunTables`` says."""

    def __init__(self, frames: Mapping[Table, DataFrame]) -> None:
        self._frames = frames
        self._lists = frames[RECOMMENDATIONS]

    @property
    def user_type(self) -> pa.DataType:
        return to_arrow_type(self._lists.schema[USER_ID].dataType)

    def aggregate(self, table: Table, aggregation: Aggregation) -> pa.Table:
        def count_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            yield from aggregate(batches, aggregation).to_batches()

        def merge_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            tables = (pa.Table.from_batches([batch]) for batch in batches)
            yield from merge_parts(tables, aggregation).to_batches()

        schema = from_arrow_schema(aggregation.schema)
        rows = self._frames[table].select(*aggregation.columns)
        parts = rows.mapInArrow(count_partition, schema)
        if aggregation.spread_by is not None:
            # So that the driver gets each value once, and not once of each partition.
            parts = parts.repartition(aggregation.spread_by).mapInArrow(merge_partition, schema)
        return merge_parts([parts.toArrow()], aggregation)

    def read(self, table: Table, columns: Sequence[str]) -> pa.Table:
        return self._frames[table].select(*columns).toArrow()

    def read_tops(self, users: Sequence[Any], n_ranks: int, columns: Sequence[str]) -> pa.Table:
        wanted = F.col(USER_ID).isin(list(users)) & (F.col(RANK) <= n_ranks)
        return self._lists.where(wanted).select(*columns).toArrow()

    def count_users(self, before: "SparkTables") -> UserCounts:
        """Who has a list has a first place in it."""
        sides = ("now", "before")
        marked = [
            frame.where(F.col(RANK) == 1).select(
                F.col(USER_ID).cast("string").alias(USER_ID),
                *(F.lit(int(side == own)).alias(side) for side in sides),
            )
            for own, frame in zip(sides, (self._lists, before._lists), strict=True)
        ]
        row = (
            reduce(DataFrame.unionAll, marked)
            .groupBy(USER_ID)
            .agg(*(F.max(side).alias(side) for side in sides))
            .agg(
                *(F.sum(side).alias(side) for side in sides),
                F.sum(F.col("now") * F.col("before")).alias("both"),
            )
            .collect()[0]
        )
        return UserCounts(*(int(row[name] or 0) for name in (*sides, "both")))
