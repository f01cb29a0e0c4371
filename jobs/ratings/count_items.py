"""Count the rows and ratings of each item, before the rules and after them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from jobs.ratings.gather import DUPLICATES, ITEMS, RATINGS
from jobs.tables.columns import ITEM_ID, ITEM_INDEX, PIECE_NUMBER, RATING
from recsys_core.arrays import BoolArray, Float64Array
from recsys_core.items.index import ItemIndex

_COUNTS = ("rows", "valid", "rating_count", "rating_sum")
_MEAN_DECIMALS = 9
"""Means are rounded before they are compared: a sum's last digits depend on the partitioning."""


# --- What came in --------------------------------------------------------------------------------


def count_items(account: DataFrame) -> pd.DataFrame:
    """item_id (ascending, null first), rows, valid, rating_count, mean_rating; to the driver.

    Args:
        account: ``RowAccount.frame``.
    """
    id_type = account.schema[ITEM_ID].dataType.simpleString()
    schema = f"{ITEM_ID} {id_type}, " + ", ".join(f"{name} double" for name in _COUNTS)
    parts = account.mapInArrow(_count_partition, schema).toArrow()
    counts: pd.DataFrame = _sum_counts(parts).to_pandas(integer_object_nulls=True)
    counts = counts.astype(dict.fromkeys(_COUNTS[:-1], "int64"))
    n_ratings = counts["rating_count"].where(counts["rating_count"] > 0)
    counts["mean_rating"] = (counts["rating_sum"] / n_ratings).astype("float64")
    counts["mean_rating"] = counts["mean_rating"].round(_MEAN_DECIMALS)
    return _sort_items(counts)


def _count_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    total: pa.Table | None = None
    for batch in batches:
        refusals = batch.column(ITEM_ID).filter(pc.is_null(batch.column(PIECE_NUMBER)))
        repeated = batch.column(DUPLICATES).flatten()
        unique, ratings = (batch.column(name).flatten() for name in (ITEMS, RATINGS))
        parts = [
            _to_counts(refusals, (1, 0, 0), None),
            _to_counts(repeated, (1, 1, 0), None),
            _to_counts(unique, (1, 1, 1), ratings),
        ]
        total = _sum_counts(pa.concat_tables([*parts, *([total] if total is not None else [])]))
    if total is not None:
        yield from total.to_batches()


def _to_counts(item_id: pa.Array, each: tuple[int, int, int], ratings: pa.Array | None) -> pa.Table:
    """Each of these rows as what it adds to the counts of its item."""
    n = len(item_id)
    if ratings is None:
        ratings = pa.array(np.zeros(n))
    ones = [pa.array(np.full(n, float(value))) for value in each]
    return pa.Table.from_arrays([item_id, *ones, ratings], [ITEM_ID, *_COUNTS])


def _sum_counts(counts: pa.Table) -> pa.Table:
    summed = counts.group_by(ITEM_ID, use_threads=False).aggregate(
        [(name, "sum") for name in _COUNTS]
    )
    return summed.select([ITEM_ID, *(f"{name}_sum" for name in _COUNTS)]).rename_columns(
        [ITEM_ID, *_COUNTS]
    )


def add_unrated(items: pd.DataFrame, index: ItemIndex) -> pd.DataFrame:
    """``items`` with a row for each item of the index that has none in the input."""
    missing = index.item_ids[~pd.Series(index.item_ids).isin(items[ITEM_ID]).to_numpy()]
    if not len(missing):
        return items
    unrated = pd.DataFrame({ITEM_ID: missing, **dict.fromkeys(_COUNTS, 0)})
    unrated = unrated.assign(mean_rating=np.nan).astype(items.dtypes.drop(ITEM_ID).to_dict())
    return _sort_items(pd.concat([items, unrated]))


def _sort_items(items: pd.DataFrame) -> pd.DataFrame:
    return items.sort_values(ITEM_ID, na_position="first", ignore_index=True)


# --- What the rules have left --------------------------------------------------------------------


def count_survivors(
    kept: DataFrame, items: pd.DataFrame, chosen: BoolArray, *, all_users_stay: bool
) -> pd.DataFrame:
    """item_id, rating_count, mean_rating of the chosen items in the kept ratings.

    Args:
        kept: ``CleanRatings.ratings``.
        items: of ``count_items``.
        chosen: of each row of ``items``, whether it passes all item rules.
        all_users_stay: whether no user can have been left out; the counts then still hold.
    """
    columns = [ITEM_ID, "rating_count", "mean_rating"]
    survivors = items.loc[chosen, columns].reset_index(drop=True)
    if not all_users_stay:
        counted = kept.mapInArrow(_count_indices, f"{ITEM_INDEX} int, n double, total double")
        sums = counted.toArrow().to_pandas().groupby(ITEM_INDEX)[["n", "total"]].sum()
        sums = sums.reindex(survivors.index, fill_value=0)
        survivors["rating_count"] = sums["n"]
        survivors["mean_rating"] = (sums["total"] / sums["n"].where(sums["n"] > 0)).round(6)
    return survivors.astype({"rating_count": "int64", "mean_rating": "float64"})


def _count_indices(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    n, total = np.zeros(0), np.zeros(0)
    for batch in batches:
        index = batch.column(ITEM_INDEX).flatten().to_numpy()
        rating = batch.column(RATING).flatten().to_numpy()
        n = _add(np.bincount(index).astype(np.float64), n)
        total = _add(np.bincount(index, weights=rating).astype(np.float64), total)
    items = np.flatnonzero(n)
    yield pa.RecordBatch.from_pydict(
        {ITEM_INDEX: pa.array(items, pa.int32()), "n": n[items], "total": total[items]}
    )


def _add(left: Float64Array, right: Float64Array) -> Float64Array:
    """The sum of two arrays, the shorter of them filled up with zeros."""
    longer, shorter = (left, right) if len(left) > len(right) else (right, left)
    longer = longer.copy()
    longer[: len(shorter)] += shorter
    return longer
