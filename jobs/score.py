"""Fold every user in and rank the unseen items, in Python workers over the broadcast model.

Rows cross as Arrow batches (``mapInArrow``): what arrives are the arrays that fold-in and top-k
compute with, without pandas between.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.sparse import csr_matrix

from jobs.blas import require_one_blas_thread
from jobs.schemas import (
    ITEM_ID,
    ITEM_INDEX,
    PIECE_NUMBER,
    RATING,
    RECOMMENDATIONS,
    USER_FACTORS,
    USER_ID,
    Table,
)
from jobs.user_rows import make_lists, to_matrix, whole_users
from recsys_core.arrays import Float32Array, IdArray, Int32Array, Int64Array
from recsys_core.factor_model import FactorModel
from recsys_core.top_k import USERS_PER_BLOCK, TopKScorer, number_within

_COLUMNS = (USER_ID, PIECE_NUMBER, ITEM_INDEX, RATING)
MODEL_SOURCE, POPULARITY_SOURCE = "model", "popularity"
_USERS_AT_ONCE = 12 * USERS_PER_BLOCK


@dataclass(frozen=True)
class ScoringModel:
    """What every executor needs; broadcast once."""

    model: FactorModel
    item_ids: pa.Array


def score_users(ratings: DataFrame, model: FactorModel, item_ids: IdArray, k: int) -> DataFrame:
    """The columns of ``RECOMMENDATIONS`` for every user of the indexed ratings.

    Args:
        ratings: ``IndexedRatings.frame``.
    """
    broadcast = _ship(ratings, model, item_ids)

    def score_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from score_batches(batches, _receive(broadcast), k)

    schema = _schema(ratings, item_ids, RECOMMENDATIONS, without="source")
    lists = ratings.select(*_COLUMNS).mapInArrow(score_partition, schema)
    return lists.withColumn("source", F.lit(MODEL_SOURCE))


def score_batches(
    batches: Iterable[pa.RecordBatch], shipped: ScoringModel, k: int
) -> Iterator[pa.RecordBatch]:
    """user_id, rank, item_id, score for the users of one partition, in their order.

    Memory does not grow with the number of users, nor with what one of them has rated beyond the
    rows of that user.
    """
    scorer = TopKScorer(shipped.model.item_factors, k)
    for user_id, matrix in _users_and_ratings(batches, scorer.n_items):
        lists = scorer.rank(shipped.model.fold_in(matrix), matrix)
        yield pa.RecordBatch.from_pydict(
            {
                USER_ID: user_id.take(pa.array(lists.user_row)),
                "rank": lists.rank,
                ITEM_ID: shipped.item_ids.take(pa.array(lists.item_index)),
                "score": lists.score,
            }
        )


def list_popular(
    users: DataFrame, rating_count: Int64Array, item_ids: IdArray, k: int
) -> DataFrame:
    """The columns of ``RECOMMENDATIONS`` for users without ratings: the most rated items.

    Args:
        users: user_id, item_index (array of int: what the user has rated), a row for each.
        rating_count: [n_items]; it is the score. Ties go to the lower item id.
    """
    order = np.argsort(-rating_count, kind="stable").astype(np.int32)
    count = rating_count.astype(np.float32)
    known: Broadcast[tuple[Int32Array, Float32Array, pa.Array]]
    known = users.sparkSession.sparkContext.broadcast((order, count, pa.array(item_ids)))

    def list_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        order, count, ids = known.value
        for batch in batches:
            seen = batch.column(ITEM_INDEX)
            lists = [_take_unseen(order, mine.values.to_numpy(), k) for mine in seen]
            lengths = np.array([len(items) for items in lists], dtype=np.int64)
            item = np.concatenate([*lists, np.zeros(0, np.int32)])
            row = np.repeat(np.arange(len(lists)), lengths)
            yield pa.RecordBatch.from_pydict(
                {
                    USER_ID: batch.column(USER_ID).take(pa.array(row)),
                    "rank": number_within(lengths),
                    ITEM_ID: ids.take(pa.array(item)),
                    "score": count[item],
                }
            )

    lists = users.select(USER_ID, ITEM_INDEX).mapInArrow(
        list_partition, _schema(users, item_ids, RECOMMENDATIONS, without="source")
    )
    return lists.withColumn("source", F.lit(POPULARITY_SOURCE))


def _take_unseen(order: Int32Array, seen: Int32Array, k: int) -> Int32Array:
    """The first k of ``order`` that are not in ``seen``."""
    head = order[: k + len(seen)]
    return head[~np.isin(head, seen)][:k] if len(seen) else head


def fold_in_users(ratings: DataFrame, model: FactorModel, item_ids: IdArray) -> DataFrame:
    """The columns of ``USER_FACTORS``: what ``score_users`` folds in, kept."""
    broadcast = _ship(ratings, model, item_ids)

    def fold_in_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        shipped = _receive(broadcast)
        for user_id, matrix in _users_and_ratings(batches, len(shipped.item_ids)):
            factors = shipped.model.fold_in(matrix)
            lengths = np.full(len(factors), factors.shape[1])
            lists = make_lists(lengths, pa.array(factors.ravel()))
            yield pa.RecordBatch.from_pydict({USER_ID: user_id, "factors": lists})

    schema = _schema(ratings, item_ids, USER_FACTORS)
    return ratings.select(*_COLUMNS).mapInArrow(fold_in_partition, schema)


def _users_and_ratings(
    batches: Iterable[pa.RecordBatch], n_items: int
) -> Iterator[tuple[pa.Array, csr_matrix]]:
    """Blocks of whole users and their ratings, small enough that buffers for them stay small."""
    for block in whole_users(batches):
        user_id, matrix = to_matrix(block, n_items)
        for start in range(0, len(user_id), _USERS_AT_ONCE):
            part = slice(start, start + _USERS_AT_ONCE)
            yield user_id[part], matrix[part]


def _ship(ratings: DataFrame, model: FactorModel, item_ids: IdArray) -> Broadcast[ScoringModel]:
    return ratings.sparkSession.sparkContext.broadcast(ScoringModel(model, pa.array(item_ids)))


def _receive(broadcast: Broadcast[ScoringModel]) -> ScoringModel:
    require_one_blas_thread()
    return broadcast.value


def _schema(ratings: DataFrame, item_ids: IdArray, table: Table, *, without: str = "") -> str:
    types = {
        USER_ID: ratings.schema[USER_ID].dataType.simpleString(),
        ITEM_ID: "string" if item_ids.dtype == object else "bigint",
    }
    columns = [column for column in table.columns if column.name != without]
    return ", ".join(f"{column.name} {column.type or types[column.name]}" for column in columns)
