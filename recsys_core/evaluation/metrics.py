"""How good lists and predictions are, user by user, and how sure their means are.

Ranking metrics are those of trec_eval, to the last bit. Each is over all items, as Krichene and
Rendle, *On Sampled Metrics for Item Recommendation*, KDD 2020, ask for:

    ndcg       DCG@k over the best there could be, gain 1, discount log2(rank + 1)
    recall     relevant items listed, of all that are relevant
    precision  relevant items listed, of k
    map        mean of the precisions at each relevant item listed, over all that are relevant
    mrr        1 / rank of the first relevant item; 0 where none is listed
    hit_rate   1 where any relevant item is listed
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import BoolArray, Csr, Float32Array, Float64Array, Int64Array
from recsys_core.evaluation.metric_names import RANKING_METRICS
from recsys_core.evaluation.user_blocks import split_lists
from recsys_core.model_form.item_model import ItemModel
from recsys_core.ranking.model_scorer import ModelScorer
from recsys_core.ranking.top_k import RankedItems

_PAIRS_AT_ONCE = 65_536
_USERS_AT_ONCE = 8_192
_DRAWS_AT_ONCE = 32


@dataclass(frozen=True)
class UserMeasure:
    """One metric of each user: the metric as a whole is sum(total) / sum(count), or its root."""

    metric: str
    k: int | None
    """Length of the lists; None for predictions."""
    total: Float64Array
    """[n_users]."""
    count: Float64Array
    """[n_users]: what the total is of: 1 for lists, the number of predictions for those."""
    is_root: bool = False

    @property
    def value(self) -> float:
        """Over all users."""
        mean = float(self.total.sum() / self.count.sum())
        return mean**0.5 if self.is_root else mean


def rank_users(model: ItemModel, known: Csr, k: int) -> RankedItems:
    """The k best items of each user among those not in ``known``, CSR [n_users, n_items]."""
    scorer = ModelScorer(model, k)
    parts = [
        scorer.rank(model.fold(known[start : start + _USERS_AT_ONCE]))
        for start in range(0, known.shape[0], _USERS_AT_ONCE)
    ]
    fields = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("counts", "item_index", "score")
    )
    return RankedItems(*fields)


def measure_lists(lists: RankedItems, relevant: Csr, cutoffs: Sequence[int]) -> list[UserMeasure]:
    """The ranking metrics of each user's list at each cutoff.

    Args:
        lists: of each row of ``relevant``, as long as the largest cutoff where there are items.
        relevant: CSR [n_users, n_items], at least one entry a user; stored entries are relevant,
            whatever their value.
    """
    n_users = len(lists.counts)
    values = {metric: np.empty((len(cutoffs), n_users)) for metric in RANKING_METRICS}
    for users, block in split_lists(lists, depth=max(cutoffs)):
        hits = _mark_hits(block, relevant[users], max(cutoffs))
        for metric, of_users in _measure_hits(hits, np.diff(relevant.indptr)[users], cutoffs):
            values[metric][:, users] = of_users
    ones = np.ones(n_users)
    return [
        UserMeasure(metric, k, values[metric][at], ones)
        for at, k in enumerate(cutoffs)
        for metric in RANKING_METRICS
    ]


def _measure_hits(
    hits: BoolArray, n_relevant: Int64Array, cutoffs: Sequence[int]
) -> Iterator[tuple[str, Float64Array]]:
    """Each ranking metric of a block of users, [n_cutoffs, n_users]."""
    columns = np.array(cutoffs) - 1
    for metric, measure in _AT_EACH_CUTOFF.items():
        yield metric, measure(hits, n_relevant)[:, columns].T


def _mark_hits(lists: RankedItems, relevant: Csr, depth: int) -> BoolArray:
    """Whether each user's item at each rank is relevant, [n_users, depth]."""
    n_users, n_items = relevant.shape
    relevant_row = np.repeat(np.arange(n_users), np.diff(relevant.indptr))
    row, column = lists.user_row, lists.rank - 1
    is_relevant = np.isin(
        row * n_items + lists.item_index, relevant_row * n_items + relevant.indices
    )
    within = column < depth
    hits = np.zeros((n_users, depth), dtype=np.bool_)
    hits[row[within], column[within]] = is_relevant[within]
    return hits


# Each metric at each cutoff from 1 on, [n_users, depth], of ``hits`` as ``_mark_hits`` has them and
# ``n_relevant`` [n_users]. Sums run from rank 1 on, as in trec_eval: hence the same bits.


def _measure_ndcg(hits: BoolArray, n_relevant: Int64Array) -> Float64Array:
    depth = hits.shape[1]
    # numpy's logarithm may be another in the last bit.
    discounts = np.array([1 / math.log2(rank + 1) for rank in range(1, depth + 1)])
    gained = np.cumsum(np.where(hits, discounts, 0.0), axis=1)
    best = np.cumsum(discounts)  # of so many relevant items in front
    n_listable = np.minimum(n_relevant[:, None], _ranks(hits))
    ndcg: Float64Array = gained / best[np.maximum(n_listable, 1) - 1]
    return ndcg


def _measure_recall(hits: BoolArray, n_relevant: Int64Array) -> Float64Array:
    return np.cumsum(hits, axis=1) / np.maximum(n_relevant, 1)[:, None]


def _measure_precision(hits: BoolArray, n_relevant: Int64Array) -> Float64Array:
    return np.cumsum(hits, axis=1) / _ranks(hits)


def _measure_map(hits: BoolArray, n_relevant: Int64Array) -> Float64Array:
    precisions = np.where(hits, _measure_precision(hits, n_relevant), 0.0)
    return np.cumsum(precisions, axis=1) / np.maximum(n_relevant, 1)[:, None]


def _measure_mrr(hits: BoolArray, n_relevant: Int64Array) -> Float64Array:
    is_first = hits & (np.cumsum(hits, axis=1) == 1)
    return np.cumsum(np.where(is_first, 1 / _ranks(hits), 0.0), axis=1)


def _measure_hit_rate(hits: BoolArray, n_relevant: Int64Array) -> Float64Array:
    return np.logical_or.accumulate(hits, axis=1).astype(np.float64)


def _ranks(hits: BoolArray) -> Int64Array:
    return np.arange(1, hits.shape[1] + 1)


_AT_EACH_CUTOFF: dict[str, Callable[[BoolArray, Int64Array], Float64Array]] = {
    "ndcg": _measure_ndcg,
    "recall": _measure_recall,
    "precision": _measure_precision,
    "map": _measure_map,
    "mrr": _measure_mrr,
    "hit_rate": _measure_hit_rate,
}


def predict_ratings(
    model: ItemModel, known: Csr, pairs: Csr, rating_range: tuple[float, float]
) -> Float32Array:
    """Scores of the stored pairs, within the range of ratings, in the order of ``pairs.data``.

    Args:
        known: CSR [n_users, n_items], what users are folded in from.
        pairs: CSR [n_users, n_items].
    """
    items = model.item_factors
    row = np.repeat(np.arange(pairs.shape[0]), np.diff(pairs.indptr))
    users = model.fold_in(known)
    predicted = np.empty(pairs.nnz, dtype=np.float32)
    for start in range(0, pairs.nnz, _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        predicted[part] = np.einsum("ij,ij->i", users[row[part]], items[pairs.indices[part]])
    return np.clip(predicted, *rating_range)


def measure_predictions(predicted: Float32Array, held_out: Csr) -> list[UserMeasure]:
    """RMSE and MAE of predictions in the order of ``held_out.data``; users count by ratings."""
    errors = predicted.astype(np.float64) - held_out.data
    counts = np.diff(held_out.indptr).astype(np.float64)

    def total(values: Float64Array) -> Float64Array:
        sums = csr_matrix((values, held_out.indices, held_out.indptr), held_out.shape).sum(axis=1)
        return np.asarray(sums, dtype=np.float64).ravel()

    return [
        UserMeasure("rmse", None, total(errors**2), counts, is_root=True),
        UserMeasure("mae", None, total(np.abs(errors)), counts),
    ]


def draw_means(
    measures: Sequence[UserMeasure], *, seed: int, n_resamples: int = 1_000
) -> Float64Array:
    """Each metric over users drawn anew with replacement, float64 [n_resamples, n_measures].

    The bootstrap of Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13:
    percentiles of a column bound its metric. Equal seeds give equal draws of users, so that
    differences between models may be taken draw by draw.
    """
    values = np.stack([part for measure in measures for part in (measure.total, measure.count)])
    rng, n_users = np.random.default_rng(seed), values.shape[1]
    sums = np.empty((n_resamples, len(values)))
    times_drawn = np.empty((_DRAWS_AT_ONCE, n_users))
    for start in range(0, n_resamples, _DRAWS_AT_ONCE):
        part = sums[start : start + _DRAWS_AT_ONCE]
        for at in range(len(part)):
            drawn = rng.integers(n_users, size=n_users)
            times_drawn[at] = np.bincount(drawn, minlength=n_users)
        part[:] = times_drawn[: len(part)] @ values.T
    means: Float64Array = sums[:, 0::2] / sums[:, 1::2]
    is_root = np.array([measure.is_root for measure in measures])
    means[:, is_root] **= 0.5
    return means
