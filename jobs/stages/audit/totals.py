"""Totals of the written recommendations, and the hash of their content."""

from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.tables.columns import ITEM_ID, MODEL_SOURCE, POPULARITY_SOURCE, RANK, SCORE, SOURCE


@dataclass(frozen=True)
class ListTotals:
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


def sum_lists(written: DataFrame) -> ListTotals:
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
    return ListTotals(
        items=int(row["items"]),
        top_item_lists=int(row["top"] or 0),
        lowest=None if row["lowest"] is None else float(row["lowest"]),
        highest=None if row["highest"] is None else float(row["highest"]),
        content_hash=f"{content_hash % 2**64:016x}",
        source_users={name: int(row[name]) for name in is_from if row[name]},
        strange_sources=int(row["strange"] or 0),
    )
