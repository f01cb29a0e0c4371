"""What is counted of a table's rows, so that it can be counted in parts.

Each batch of rows becomes a partial result, and partial results are merged, in any order and any
number of steps: in Spark's Python workers, on the driver, or over the batches of files.
"""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.tables.columns import ITEM_ID, MODEL_SOURCE, RANK, REASON, SCORE, SOURCE, USER_ID
from recsys_core.arrays import BoolArray, Float64Array, Int64Array

SCORE_BINS = 40
_MANY_ROWS = 1_000_000
"""Of partial results, which are merged before more of them are held."""


@dataclass(frozen=True)
class Aggregation:
    """A count that is made in parts. Ids are texts in its results, whatever they are in rows."""

    columns: tuple[str, ...]
    """What it needs of the table."""
    schema: pa.Schema
    """Of its results, partial or not."""
    tabulate: Callable[[pa.RecordBatch], pa.Table]
    """The partial result of some rows."""
    merge: Callable[[pa.Table], pa.Table]
    """One result of several, one below the other."""
    spread_by: str | None = None
    """Where a result is large: a column by whose values it can be merged apart."""


def aggregate(batches: Iterable[pa.RecordBatch], aggregation: Aggregation) -> pa.Table:
    """The result of all batches together."""
    return merge_parts((aggregation.tabulate(batch) for batch in batches), aggregation)


def merge_parts(parts: Iterable[pa.Table], aggregation: Aggregation) -> pa.Table:
    """One result of partial ones, few of which are held at a time."""
    held, n_rows = [aggregation.schema.empty_table()], 0
    for part in parts:
        held.append(part)
        n_rows += len(part)
        if n_rows >= _MANY_ROWS:
            held, n_rows = [aggregation.merge(pa.concat_tables(held))], 0
    return aggregation.merge(pa.concat_tables(held))


def _sum_by(rows: pa.Table, keys: tuple[str, ...]) -> pa.Table:
    """Of the rows with equal ``keys`` one, with the sums of the other columns."""
    summed = [name for name in rows.column_names if name not in keys]
    groups = rows.group_by(list(keys)).aggregate([(name, "sum") for name in summed])
    names = [name if name in keys else f"{name}_sum" for name in rows.column_names]
    return pa.table([groups[name] for name in names], schema=rows.schema)


# --- In how many lists each item is --------------------------------------------------------------

_ITEM_COUNTS = pa.schema({ITEM_ID: pa.string(), "lists": pa.int64()})


def _tabulate_items(batch: pa.RecordBatch) -> pa.Table:
    counted = pc.value_counts(batch.column(ITEM_ID))
    ids = pc.cast(counted.field("values"), pa.string())
    return pa.table([ids, counted.field("counts")], schema=_ITEM_COUNTS)


LISTS_BY_ITEM = Aggregation(
    (ITEM_ID,),
    _ITEM_COUNTS,
    _tabulate_items,
    partial(_sum_by, keys=(ITEM_ID,)),
    spread_by=ITEM_ID,
)
"""Of ``RECOMMENDATIONS``: item_id, lists."""


# --- How many places of the lists have a source, a rank and a score ------------------------------

_PLACE_KEYS = (SOURCE, RANK, "score_bin")
_PLACE_COUNTS = pa.schema(
    {SOURCE: pa.string(), RANK: pa.int64(), "score_bin": pa.int64(), "rows": pa.int64()}
)


def count_places(limits: tuple[float, float] | None) -> Aggregation:
    """Of ``RECOMMENDATIONS``: source, rank, score_bin, rows; bin -1 is of what is not the model's.

    Args:
        limits: lowest and highest score of the model's rows; None where it has none.
    """
    return Aggregation(
        (SOURCE, RANK, SCORE),
        _PLACE_COUNTS,
        partial(_tabulate_places, limits=limits),
        partial(_sum_by, keys=_PLACE_KEYS),
    )


def _tabulate_places(batch: pa.RecordBatch, limits: tuple[float, float] | None) -> pa.Table:
    source = batch.column(SOURCE)
    is_model = pc.equal(source, MODEL_SOURCE).to_numpy(zero_copy_only=False)
    scores = batch.column(SCORE).to_numpy(zero_copy_only=False).astype(np.float64)
    bins = pa.array(_find_bins(scores, is_model, limits))
    ranks = pc.cast(batch.column(RANK), pa.int64())
    return pa.table([source, ranks, bins, _ones(batch)], schema=_PLACE_COUNTS)


def _find_bins(
    scores: Float64Array, is_model: BoolArray, limits: tuple[float, float] | None
) -> Int64Array:
    """The bin of each score, 0 to ``SCORE_BINS`` - 1; -1 where it is not the model's."""
    bins = np.zeros(len(scores))
    if limits is None:
        bins -= 1
    elif limits[0] < limits[1]:
        low, high = limits
        bins = np.floor((scores - low) / (high - low) * SCORE_BINS)
    return np.where(is_model, np.minimum(bins, SCORE_BINS - 1), -1).astype(np.int64)


def _ones(batch: pa.RecordBatch) -> pa.Array:
    return pa.array(np.ones(batch.num_rows, np.int64))


# --- What was left out ---------------------------------------------------------------------------

_EXCLUDED_COUNTS = pa.schema(
    {"kind": pa.string(), REASON: pa.string(), "entries": pa.int64(), "ratings": pa.int64()}
)


def _tabulate_excluded(batch: pa.RecordBatch) -> pa.Table:
    kind, reason, ratings = (batch.column(name) for name in ("kind", REASON, "rating_count"))
    return pa.table([kind, reason, _ones(batch), ratings], schema=_EXCLUDED_COUNTS)


EXCLUDED_BY_REASON = Aggregation(
    ("kind", REASON, "rating_count"),
    _EXCLUDED_COUNTS,
    _tabulate_excluded,
    partial(_sum_by, keys=("kind", REASON)),
)
"""Of ``EXCLUDED``: kind, reason, entries, ratings."""


# --- Which users are shown -----------------------------------------------------------------------

_CHECKSUMS = pa.schema({"checksum": pa.int64(), USER_ID: pa.string()})


def pick_users(n_users: int) -> Aggregation:
    """Of ``RECOMMENDATIONS``: checksum, user_id, of the users whose ids have the lowest checksums.

    The CRC-32 of the id as text, as in ``jobs/ratings/recent``; the lower id where two are equal.
    """
    return Aggregation(
        (USER_ID, RANK), _CHECKSUMS, _tabulate_users, partial(_keep_lowest, n_users=n_users)
    )


def _tabulate_users(batch: pa.RecordBatch) -> pa.Table:
    """Who has a list has a first place in it."""
    users = batch.column(USER_ID).filter(pc.equal(batch.column(RANK), 1))
    texts = pc.cast(users, pa.string())
    sums = pa.array([zlib.crc32(text.encode()) for text in texts.to_pylist()], pa.int64())
    return pa.table([sums, texts], schema=_CHECKSUMS)


def _keep_lowest(rows: pa.Table, n_users: int) -> pa.Table:
    order = [("checksum", "ascending"), (USER_ID, "ascending")]
    return rows.sort_by(order).slice(0, n_users)
