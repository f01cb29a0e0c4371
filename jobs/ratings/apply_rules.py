"""Apply the rules to the rows of each user, in Python workers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import Broadcast
from pyspark.sql import DataFrame

from jobs.ratings.cleaning_rules import CleaningRules
from jobs.ratings.gather import ITEMS, RATINGS, is_refusal
from jobs.ratings.user_rows import cut_pieces, make_lists, number_users, whole_users
from jobs.tables.columns import (
    ITEM_ID,
    ITEM_INDEX,
    PIECE_NUMBER,
    RATING,
    SEEN,
    TIMES,
    USER_ID,
)
from jobs.tables.spark import id_type_name
from recsys_core.arrays import BoolArray, Int32Array, Int64Array


@dataclass(frozen=True)
class _Verdicts:
    """What the executors need to know of the items: parallel arrays, those with ratings."""

    item_id: pa.Array
    passed: Int32Array
    """How many item rules each passes."""
    index: Int32Array
    """Number among the items that pass them all, in order of item_id."""
    steps: tuple[str, ...]
    """``CleaningRules.user_steps``."""
    min_user_ratings: int


def apply_rules(
    account: DataFrame, items: pd.DataFrame, passed: Int32Array, rules: CleaningRules
) -> DataFrame:
    """The rows of ``CleanRatings.ratings``, lazily.

    Args:
        account: ``RowAccount.frame``.
        items: of ``count_items``.
        passed: of each row of ``items``, how many item rules it passes.
    """
    has_names = id_type_name(account.schema[ITEM_ID].dataType) == "string"
    verdicts = _judge_items(items, passed, rules, pa.string() if has_names else pa.int64())
    shipped: Broadcast[_Verdicts] = account.sparkSession.sparkContext.broadcast(verdicts)

    def keep_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for block in whole_users(batches):
            yield _keep_block(block, shipped.value)

    user_type = account.schema[USER_ID].dataType.simpleString()
    times = [TIMES] if TIMES in account.columns else []
    fields = [
        f"{USER_ID} {user_type}, {PIECE_NUMBER} int, {ITEM_INDEX} array<int>",
        f"{RATING} array<float>",
        *(f"{step} int" for step in rules.user_steps),
        f"{SEEN} array<int>",
        *(f"{name} array<double>" for name in times),
    ]
    users = account.where(~is_refusal()).select(USER_ID, PIECE_NUMBER, ITEMS, RATINGS, *times)
    return users.mapInArrow(keep_partition, ", ".join(fields))


def _judge_items(
    items: pd.DataFrame, passed: Int32Array, rules: CleaningRules, id_type: pa.DataType
) -> _Verdicts:
    rated = (items["rating_count"] > 0).to_numpy()
    index = np.cumsum(passed == len(rules.item_steps), dtype=np.int32) - 1
    item_id = pa.array(items.loc[rated, ITEM_ID].tolist(), id_type)
    return _Verdicts(item_id, passed[rated], index[rated], rules.user_steps, rules.min_user_ratings)


def _keep_block(rows: pa.RecordBatch, verdicts: _Verdicts) -> pa.RecordBatch:
    """The rows of ``CleanRatings.ratings`` for those of ``RowAccount.frame``."""
    items, ratings = (rows.column(name) for name in (ITEMS, RATINGS))
    row_user = number_users(rows)
    user = np.repeat(row_user, items.value_lengths().to_numpy())
    n_users = int(row_user[-1]) + 1
    place = pc.index_in(items.flatten(), value_set=verdicts.item_id).to_numpy()
    counts = _count_ratings(user, verdicts.passed[place], n_users, verdicts.steps)
    *_, of_chosen = counts.values()
    chosen = verdicts.passed[place] == len(verdicts.steps) - 1
    active = (of_chosen >= verdicts.min_user_ratings)[user]
    kept, seen = chosen & active, chosen & ~active
    owner, piece, length = cut_pieces(np.bincount(user[kept], minlength=n_users))
    n_seen = np.where(piece == 0, np.bincount(user[seen], minlength=n_users)[owner], 0)
    columns = {
        USER_ID: _take_users(rows, row_user, owner),
        PIECE_NUMBER: pa.array(piece, pa.int32()),
        ITEM_INDEX: make_lists(length, pa.array(verdicts.index[place[kept]])),
        RATING: make_lists(length, _take_floats(ratings, kept)),
    }
    for step, count in counts.items():
        columns[step] = pa.array(np.where(piece == 0, count[owner], 0), pa.int32())
    columns[SEEN] = make_lists(n_seen, pa.array(verdicts.index[place[seen]]))
    if TIMES in rows.schema.names:
        columns[TIMES] = make_lists(length, rows.column(TIMES).flatten().filter(pa.array(kept)))
    return pa.RecordBatch.from_pydict(columns)


def _count_ratings(
    user: Int64Array, passed: Int32Array, n_users: int, steps: tuple[str, ...]
) -> dict[str, Int64Array]:
    """Step -> [n_users] ratings that are left after it."""
    return {
        step: np.bincount(user[passed >= least], minlength=n_users)
        for least, step in enumerate(steps)
    }


def _take_users(rows: pa.RecordBatch, row_user: Int64Array, owner: Int64Array) -> pa.Array:
    """The id of each of these users."""
    first_rows = np.searchsorted(row_user, np.arange(int(row_user[-1]) + 1))
    return rows.column(USER_ID).take(pa.array(first_rows[owner]))


def _take_floats(ratings: pa.ListArray, kept: BoolArray) -> pa.Array:
    return pa.array(ratings.flatten().to_numpy()[kept].astype(np.float32))
