"""Fold every user in and rank the unseen items, in Python workers over the broadcast model.

Rows cross as Arrow batches (``mapInArrow``): what arrives are the arrays that fold-in and top-k
compute with, without pandas between.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F
from scipy.sparse import csr_matrix

from jobs.machine.blas import require_one_blas_thread
from jobs.ratings.user_rows import make_lists, to_matrix, whole_users
from jobs.tables.columns import (
    ITEM_ID,
    ITEM_INDEX,
    MODEL_SOURCE,
    PIECE_NUMBER,
    POPULARITY_SOURCE,
    RANK,
    RATING,
    SCORE,
    SOURCE,
    USER_ID,
)
from jobs.tables.published import RECOMMENDATIONS, USER_FACTORS, Table
from recsys_core.arrays import Float32Array, IdArray, Int32Array, Int64Array
from recsys_core.model_form.item_model import ItemModel
from recsys_core.ranking.exact_order import order_by_score
from recsys_core.ranking.list_rules import ListRules
from recsys_core.ranking.list_rules_kernels import EFFECTS
from recsys_core.ranking.model_scorer import ModelScorer
from recsys_core.ranking.ruled_lists import RuledOrder, RuledScorer
from recsys_core.ranking.top_k import USERS_AT_ONCE, RankedItems

_COLUMNS = (USER_ID, PIECE_NUMBER, ITEM_INDEX, RATING)
_EFFECTS = "effects"
"""Column of what the rules did, in rows of their own that ``observe_effects`` takes out again."""


@dataclass(frozen=True)
class ScoringModel:
    """What every executor needs; broadcast once."""

    model: ItemModel
    item_ids: pa.Array
    rules: ListRules | None = None


def score_users(
    ratings: DataFrame,
    model: ItemModel,
    item_ids: IdArray,
    k: int,
    rules: ListRules | None = None,
) -> DataFrame:
    """The columns of ``RECOMMENDATIONS`` for every user of the indexed ratings.

    Args:
        ratings: ``IndexedRatings.frame``.
        rules: where there are any, ``observe_effects`` has to follow.
    """
    broadcast = _ship(ratings, model, item_ids, rules)

    def score_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from score_batches(batches, _receive(broadcast), k)

    schema = _list_schema(ratings, item_ids, rules)
    lists = ratings.select(*_COLUMNS).mapInArrow(score_partition, schema)
    return lists.withColumn(SOURCE, F.lit(MODEL_SOURCE))


def observe_effects(lists: DataFrame) -> tuple[DataFrame, Observation]:
    """The lists alone, and an observation for ``read_effects`` once they are written.

    The effects travel with the rows, so a task that is run twice is counted once.

    Args:
        lists: from ``score_users`` and ``list_popular`` with rules.
    """
    observation = Observation()
    sums = (F.sum(F.col(_EFFECTS)[at]).alias(name) for at, name in enumerate(EFFECTS))
    observed = lists.observe(observation, *sums)
    return observed.where(F.col(RANK).isNotNull()).drop(_EFFECTS), observation


def read_effects(observation: Observation) -> dict[str, int]:
    """By name, what the rules did to all lists."""
    found = observation.get
    return {name: int(found[name] or 0) for name in EFFECTS}


def score_batches(
    batches: Iterable[pa.RecordBatch], shipped: ScoringModel, k: int
) -> Iterator[pa.RecordBatch]:
    """user_id, rank, item_id, score for the users of one partition, in their order.

    With rules also the column ``effects``, and for each block of users a row of nothing else.
    Memory does not grow with the number of users, nor with what one of them has rated beyond the
    rows of that user.
    """
    model, rules, item_ids = shipped.model, shipped.rules, shipped.item_ids
    users_and_ratings = _users_and_ratings(batches, model.n_items)
    if rules is None:
        scorer = ModelScorer(model, k)
        for user_id, matrix in users_and_ratings:
            yield _to_batch(user_id, scorer.rank(model.fold(matrix)), item_ids)
        return
    ruled = RuledScorer(model, k, rules)
    for user_id, matrix in users_and_ratings:
        lists, effects = ruled.rank(model.fold(matrix))
        yield from _tell_effects(_to_batch(user_id, lists, item_ids), effects)


def _to_batch(user_id: pa.Array, lists: RankedItems, item_ids: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            USER_ID: user_id.take(pa.array(lists.user_row)),
            RANK: lists.rank,
            ITEM_ID: item_ids.take(pa.array(lists.item_index)),
            SCORE: lists.score,
        }
    )


def _tell_effects(batch: pa.RecordBatch, effects: Int64Array) -> Iterator[pa.RecordBatch]:
    """The rows, with a column for effects that is null in them; and one row that has only these."""
    counts = pa.list_(pa.int64())
    yield batch.append_column(_EFFECTS, pa.nulls(batch.num_rows, counts))
    nothing = {field.name: pa.nulls(1, field.type) for field in batch.schema}
    yield pa.RecordBatch.from_pydict({**nothing, _EFFECTS: pa.array([effects.tolist()], counts)})


@dataclass(frozen=True)
class _Popular:
    """The most rated items; broadcast once."""

    order: Int32Array
    count: Float32Array
    item_ids: pa.Array
    rules: ListRules | None


def list_popular(
    users: DataFrame,
    rating_count: Int64Array,
    item_ids: IdArray,
    k: int,
    rules: ListRules | None = None,
) -> DataFrame:
    """The columns of ``RECOMMENDATIONS`` for users without ratings: the most rated items.

    Args:
        users: user_id, item_index (array of int: what the user has rated), a row for each.
        rating_count: [n_items]; it is the score. Ties go to the lower item id.
        rules: as in ``score_users``; their minimum score is one of the model's scores.
    """
    order = order_by_score(rating_count).astype(np.int32)
    popular = _Popular(order, rating_count.astype(np.float32), pa.array(item_ids), rules)
    known: Broadcast[_Popular] = users.sparkSession.sparkContext.broadcast(popular)

    def list_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        popular = known.value
        ordered = RuledOrder(popular.order, popular.count, k, popular.rules)
        for batch in batches:
            lists, effects = ordered.take_each(
                [mine.values.to_numpy() for mine in batch.column(ITEM_INDEX)]
            )
            listed = _to_batch(batch.column(USER_ID), lists, popular.item_ids)
            if popular.rules is None:
                yield listed
            else:
                yield from _tell_effects(listed, effects)

    schema = _list_schema(users, item_ids, rules)
    lists = users.select(USER_ID, ITEM_INDEX).mapInArrow(list_partition, schema)
    return lists.withColumn(SOURCE, F.lit(POPULARITY_SOURCE))


def fold_in_users(ratings: DataFrame, model: ItemModel, item_ids: IdArray) -> DataFrame:
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
        for start in range(0, len(user_id), USERS_AT_ONCE):
            part = slice(start, start + USERS_AT_ONCE)
            yield user_id[part], matrix[part]


def _ship(
    ratings: DataFrame, model: ItemModel, item_ids: IdArray, rules: ListRules | None = None
) -> Broadcast[ScoringModel]:
    shipped = ScoringModel(model, pa.array(item_ids), rules)
    return ratings.sparkSession.sparkContext.broadcast(shipped)


def _receive(broadcast: Broadcast[ScoringModel]) -> ScoringModel:
    require_one_blas_thread()
    return broadcast.value


def _list_schema(users: DataFrame, item_ids: IdArray, rules: ListRules | None) -> str:
    schema = _schema(users, item_ids, RECOMMENDATIONS, without=SOURCE)
    return schema if rules is None else f"{schema}, {_EFFECTS} array<bigint>"


def _schema(ratings: DataFrame, item_ids: IdArray, table: Table, *, without: str = "") -> str:
    types = {
        USER_ID: ratings.schema[USER_ID].dataType.simpleString(),
        ITEM_ID: "string" if item_ids.dtype == object else "bigint",
    }
    columns = [column for column in table.columns if column.name != without]
    return ", ".join(f"{column.name} {column.type or types[column.name]}" for column in columns)
