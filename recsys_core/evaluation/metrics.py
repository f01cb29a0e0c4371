"""How good lists and predictions are, user by user, and how sure their means are.

Ranking metrics are those of trec_eval, computed by it (through pytrec_eval; Van Gysel and de Rijke,
*Pytrec_eval: An Extremely Fast Python Interface to trec_eval*, SIGIR 2018). Each is over all items,
as Krichene and Rendle, *On Sampled Metrics for Item Recommendation*, KDD 2020, ask for:

    ndcg       DCG@k over the best there could be, gain 1, discount log2(rank + 1)
    recall     relevant items listed, of all that are relevant
    precision  relevant items listed, of k
    map        mean of the precisions at each relevant item listed, over all that are relevant
    mrr        1 / rank of the first relevant item; 0 where none is listed
    hit_rate   1 where any relevant item is listed
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import Csr, Float32Array, Float64Array, Int64Array
from recsys_core.evaluation.metric_names import RANKING_METRICS
from recsys_core.models.base import FactorModel
from recsys_core.ranking.top_k import RankedItems, TopKScorer

_TREC_NAMES = {
    "ndcg": "ndcg_cut",
    "recall": "recall",
    "precision": "P",
    "map": "map_cut",
    "hit_rate": "success",
}
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


def rank_users(model: FactorModel, known: Csr, k: int) -> RankedItems:
    """The k best items of each user among those not in ``known``, CSR [n_users, n_items]."""
    scorer = TopKScorer(model.item_factors, k)
    parts = [
        scorer.rank(model.fold_in(part), part)
        for start in range(0, known.shape[0], _USERS_AT_ONCE)
        for part in [known[start : start + _USERS_AT_ONCE]]
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
    from pytrec_eval import RelevanceEvaluator  # only those who measure need it

    at_cutoffs = ",".join(map(str, cutoffs))
    wanted = {f"{name}.{at_cutoffs}" for name in _TREC_NAMES.values()} | {"recip_rank"}
    evaluator = RelevanceEvaluator(_name_relevant(relevant), wanted)
    per_user = evaluator.evaluate(_name_lists(lists))
    n_users, ones = relevant.shape[0], np.ones(relevant.shape[0])

    def gather(name: str) -> Float64Array:
        # A user whose list is empty is not in the result: nothing relevant was listed.
        values = (per_user.get(str(user), {}).get(name, 0.0) for user in range(n_users))
        return np.fromiter(values, dtype=np.float64, count=n_users)

    reciprocal = gather("recip_rank")
    measures = []
    for k in cutoffs:
        for metric in RANKING_METRICS:
            values = (
                np.where(reciprocal >= 1 / k - 1e-6, reciprocal, 0.0)  # trec_eval's has no cutoff
                if metric == "mrr"
                else gather(f"{_TREC_NAMES[metric]}_{k}")
            )
            measures.append(UserMeasure(metric, k, values, ones))
    return measures


def _name_relevant(relevant: Csr) -> dict[str, dict[str, int]]:
    items = [str(item) for item in relevant.indices.tolist()]
    bounds = relevant.indptr.tolist()
    return {
        str(user): dict.fromkeys(items[start:stop], 1)
        for user, (start, stop) in enumerate(pairwise(bounds))
    }


def _name_lists(lists: RankedItems) -> dict[str, dict[str, float]]:
    items = [str(item) for item in lists.item_index.tolist()]
    # trec_eval orders by score and breaks ties by name: the ranks are the order that is meant.
    scores = (-lists.rank.astype(np.float64)).tolist()
    bounds = [0, *np.cumsum(lists.counts).tolist()]
    return {
        str(user): dict(zip(items[start:stop], scores[start:stop], strict=True))
        for user, (start, stop) in enumerate(pairwise(bounds))
        if stop > start
    }


def measure_catalogue(
    lists: RankedItems, rating_count: Int64Array, cutoffs: Sequence[int]
) -> list[UserMeasure]:
    """What the lists are made of, at each cutoff.

    popularity  mean number of training ratings of the items listed
    full_lists  share of users who get as many items as were asked for

    Args:
        rating_count: [n_items], of the training ratings.
    """
    n_users, row, rank = len(lists.counts), lists.user_row, lists.rank
    weights = rating_count[lists.item_index].astype(np.float64)
    measures = []
    for k in cutoffs:
        within = rank <= k
        listed = np.minimum(lists.counts, k).astype(np.float64)
        sums = np.bincount(row[within], weights=weights[within], minlength=n_users)
        full = (lists.counts >= k).astype(np.float64)
        measures += [
            UserMeasure("popularity", k, sums.astype(np.float64), listed),
            UserMeasure("full_lists", k, full, np.ones(n_users)),
        ]
    return measures


def measure_coverage(lists: RankedItems, n_items: int, k: int) -> float:
    """Share of the items that are in the first k of anybody's list."""
    return len(np.unique(lists.item_index[lists.rank <= k])) / n_items


def predict_ratings(
    model: FactorModel, known: Csr, pairs: Csr, rating_range: tuple[float, float]
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
