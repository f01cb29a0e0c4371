"""Fold every user in and rank the unseen items, inside pandas UDFs over the broadcast model."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark import Broadcast
from pyspark.sql import DataFrame

from jobs.schemas import ITEM_ID, ITEM_INDEX, RATING, RECOMMENDATIONS, USER_FACTORS, USER_ID, Table
from recsys_core.arrays import IdArray
from recsys_core.factor_model import FactorModel
from recsys_core.scoring import RatingRows, ScoredUsers, UserScorer, fold_in_rows

_SOURCE_MODEL = "model"


@dataclass(frozen=True)
class ScoringModel:
    """What every executor needs; broadcast once."""

    model: FactorModel
    item_ids: IdArray


def score_users(ratings: DataFrame, model: FactorModel, item_ids: IdArray, k: int) -> DataFrame:
    """The columns of ``RECOMMENDATIONS`` for every user of the indexed ratings.

    Args:
        ratings: ``IndexedRatings.frame``, each user's rows consecutive in one partition.
    """
    broadcast = _ship(ratings, model, item_ids)

    def score_partition(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        shipped = _receive(broadcast)
        scorer = UserScorer(shipped.model, k)
        for scored in scorer.score(map(_to_rows, batches)):
            yield _to_lists(scored, shipped.item_ids)

    return _map_users(ratings, score_partition, RECOMMENDATIONS)


def fold_in_users(ratings: DataFrame, model: FactorModel, item_ids: IdArray) -> DataFrame:
    """The columns of ``USER_FACTORS``: what ``score_users`` folds in, kept."""
    broadcast = _ship(ratings, model, item_ids)

    def fold_in_partition(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        shipped = _receive(broadcast)
        for user_id, factors in fold_in_rows(shipped.model, map(_to_rows, batches)):
            yield pd.DataFrame({USER_ID: user_id, "factors": list(factors)})

    return _map_users(ratings, fold_in_partition, USER_FACTORS)


def _ship(ratings: DataFrame, model: FactorModel, item_ids: IdArray) -> Broadcast[ScoringModel]:
    return ratings.sparkSession.sparkContext.broadcast(ScoringModel(model, item_ids))


def _receive(broadcast: Broadcast[ScoringModel]) -> ScoringModel:
    _require_one_blas_thread()
    return broadcast.value


def _map_users(
    ratings: DataFrame,
    function: Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]],
    table: Table,
) -> DataFrame:
    types = {name: ratings.schema[name].dataType.simpleString() for name in (USER_ID, ITEM_ID)}
    schema = ", ".join(
        f"{column.name} {column.type or types[column.name]}" for column in table.columns
    )
    return ratings.select(USER_ID, ITEM_INDEX, RATING).mapInPandas(function, schema=schema)


def _require_one_blas_thread() -> None:
    """Spark runs a task on every core: a BLAS with threads of its own would fight itself."""
    from threadpoolctl import threadpool_info

    threaded = [pool for pool in threadpool_info() if pool["num_threads"] > 1]
    if threaded:
        names = ", ".join(f"{pool['internal_api']} ({pool['num_threads']})" for pool in threaded)
        raise RuntimeError(
            f"the Python worker {os.getpid()} runs BLAS with several threads: {names}; set "
            "spark.executorEnv.OMP_NUM_THREADS, OPENBLAS_NUM_THREADS and MKL_NUM_THREADS to 1"
        )


def _to_rows(batch: pd.DataFrame) -> RatingRows:
    return RatingRows(
        batch[USER_ID].to_numpy(), batch[ITEM_INDEX].to_numpy(), batch[RATING].to_numpy()
    )


def _to_lists(scored: ScoredUsers, item_ids: IdArray) -> pd.DataFrame:
    lists = scored.lists
    return pd.DataFrame(
        {
            USER_ID: np.repeat(scored.user_id, lists.counts),
            "rank": lists.rank,
            ITEM_ID: item_ids[lists.item_index],
            "score": lists.score,
            "source": _SOURCE_MODEL,
        }
    )
