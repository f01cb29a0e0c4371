"""Models side by side on one split: every metric with its interval, baselines always among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recsys_core.arrays import Csr, Float64Array, Int64Array
from recsys_core.evaluation.baselines import ItemMeanModel, PopularityModel, count_ratings
from recsys_core.evaluation.list_makeup import (
    ItemLikeness,
    count_listed,
    measure_coverage,
    measure_gini,
    measure_items,
)
from recsys_core.evaluation.metric_names import LIKED, split_liked
from recsys_core.evaluation.metrics import (
    UserMeasure,
    draw_means,
    measure_lists,
    measure_predictions,
    predict_ratings,
    rank_users,
)
from recsys_core.evaluation.splits import Split, take_ratings
from recsys_core.model_form.item_model import ItemModel
from recsys_core.ranking.top_k import RankedItems

_OUTSIDE = 2.5
"""Percent of the draws below and above an interval of 95%."""


@dataclass(frozen=True)
class MetricValue:
    """One metric of one model."""

    metric: str
    k: int | None
    """Length of the lists; None for metrics of predictions."""
    value: float
    low: float | None
    high: float | None
    """95% bootstrap interval over users; None for coverage and gini, which are no means of them."""


@dataclass
class Evaluation:
    """Every metric of every model on one split."""

    n_users: int
    """Users whose lists were measured."""
    n_users_liking: int = 0
    """Those of them who liked a held-out item; 0 where liking was not measured."""
    metrics: dict[str, list[MetricValue]] = field(default_factory=dict)
    """By model."""
    draws: dict[str, dict[tuple[str, int | None], Float64Array]] = field(default_factory=dict)
    """By model and metric: its value in each bootstrap draw, the same users for all models."""

    def find(self, model: str, metric: str, k: int | None) -> MetricValue:
        """One value. KeyError where it was not measured."""
        for value in self.metrics[model]:
            if (value.metric, value.k) == (metric, k):
                return value
        raise KeyError((model, metric, k))

    def compare(
        self, model: str, other: str, metric: str, k: int | None
    ) -> tuple[float, float, float]:
        """By how much ``model`` is above ``other``: the difference and its 95% interval."""
        difference = self.find(model, metric, k).value - self.find(other, metric, k).value
        draws = self.draws[model][metric, k] - self.draws[other][metric, k]
        low, high = np.percentile(draws, [_OUTSIDE, 100 - _OUTSIDE]).tolist()
        return difference, low, high


def evaluate_models(
    models: Mapping[str, ItemModel],
    split: Split,
    *,
    cutoffs: Sequence[int],
    rating_range: tuple[float, float],
    min_relevant_rating: float = 0.0,
    min_liked_rating: float | None = None,
    seed: int = 0,
) -> Evaluation:
    """Measure models, and popularity and item means beside them, on the held-out ratings.

    Args:
        models: trained on ``split.train``, by the name they are to have in the result.
        cutoffs: lengths k of the lists.
        rating_range: lowest and highest rating; predictions are held within it.
        min_relevant_rating: held-out ratings below it count as not relevant; users who have no
            other are not measured by their lists.
        min_liked_rating: from which on a relevant rating says that the item was liked. Lists are
            then measured a second time, by what was liked alone; None: not.
        seed: of the bootstrap, and of the users drawn for diversity.

    Raises:
        ValueError: no user has a relevant held-out rating, or none that is liked.
    """
    known, relevant = _take_relevant(split, min_relevant_rating)
    liked = None if min_liked_rating is None else _take_liked(relevant, min_liked_rating)
    evaluation = Evaluation(known.shape[0])
    if liked is not None:
        evaluation.n_users_liking = len(_find_users(liked))
    makeup = _ListMakeup(split.train, cutoffs, seed)
    baselines = {
        "popularity": PopularityModel.of(split.train),
        "item_mean": ItemMeanModel.of(split.train),
    }
    for name, model in {**models, **baselines}.items():
        lists = rank_users(model, known, max(cutoffs))
        parts = [[*measure_lists(lists, relevant, cutoffs), *makeup.measure_users(lists)]]
        if liked is not None:
            parts.append(_measure_liked(lists, liked, cutoffs))
        if model.predicts_ratings:
            predicted = predict_ratings(model, split.known, split.held_out, rating_range)
            parts.append(measure_predictions(predicted, split.held_out))
        _add_model(evaluation, name, parts, seed)
        evaluation.metrics[name] += makeup.measure_all(lists)
    return evaluation


def measure_metric(
    model: ItemModel,
    split: Split,
    metric: str,
    k: int | None,
    *,
    rating_range: tuple[float, float],
    min_relevant_rating: float = 0.0,
    min_liked_rating: float | None = None,
) -> float:
    """One metric of one model, as ``evaluate_models`` has it, without what surrounds it.

    Raises:
        KeyError: there is no such metric, or no bound of what is liked.
        ValueError: as ``evaluate_models``.
    """
    if k is None:
        predicted = predict_ratings(model, split.known, split.held_out, rating_range)
        measures = measure_predictions(predicted, split.held_out)
    else:
        metric, is_liked = split_liked(metric)
        if is_liked:
            if min_liked_rating is None:
                raise KeyError(f"{LIKED}{metric}, without min_liked_rating")
            min_relevant_rating = max(min_relevant_rating, min_liked_rating)
        known, relevant = _take_relevant(split, min_relevant_rating)
        measures = measure_lists(rank_users(model, known, k), relevant, [k])
    return {measure.metric: measure.value for measure in measures}[metric]


def _take_relevant(split: Split, min_rating: float) -> tuple[Csr, Csr]:
    """Known and relevant ratings of the users who have any relevant one."""
    relevant = take_ratings(split.held_out, split.held_out.data >= min_rating)
    users = _find_users(relevant)
    if len(users) == 0:
        raise ValueError("no user has a relevant rating among those held out")
    return split.known[users], relevant[users]


def _take_liked(relevant: Csr, min_rating: float) -> Csr:
    """The liked ones of the relevant ratings, with all their users."""
    liked = take_ratings(relevant, relevant.data >= min_rating)
    if liked.nnz == 0:
        raise ValueError("no user liked an item among those held out")
    return liked


def _find_users(ratings: Csr) -> Int64Array:
    """Rows that have any."""
    return np.flatnonzero(np.diff(ratings.indptr) > 0)


def _measure_liked(lists: RankedItems, liked: Csr, cutoffs: Sequence[int]) -> list[UserMeasure]:
    """The ranking metrics by what was liked, of the users who liked anything."""
    users = _find_users(liked)
    return [
        replace(
            measure,
            metric=LIKED + measure.metric,
            total=measure.total[users],
            count=measure.count[users],
        )
        for measure in measure_lists(lists, liked, cutoffs)
    ]


class _ListMakeup:
    """What lists are made of, by one account of the training ratings for all models."""

    def __init__(self, train: Csr, cutoffs: Sequence[int], seed: int) -> None:
        self._n_users, self._n_items = train.shape
        self._rating_count = count_ratings(train)
        self._likeness = ItemLikeness.of(train, seed=seed)
        self._cutoffs, self._seed = cutoffs, seed

    def measure_users(self, lists: RankedItems) -> list[UserMeasure]:
        return [
            *measure_items(lists, self._rating_count, self._n_users, self._cutoffs),
            *self._likeness.measure_diversity(lists, self._cutoffs, seed=self._seed),
        ]

    def measure_all(self, lists: RankedItems) -> list[MetricValue]:
        """What is no mean over users, and so has no interval."""
        values = []
        for k in self._cutoffs:
            n_lists = count_listed(lists, self._n_items, k)
            values.append(MetricValue("coverage", k, measure_coverage(n_lists), None, None))
            values.append(MetricValue("gini", k, measure_gini(n_lists), None, None))
        return values


def _add_model(
    evaluation: Evaluation, name: str, parts: Sequence[Sequence[UserMeasure]], seed: int
) -> None:
    """Put the metrics of one model, with their intervals, into ``evaluation``."""
    evaluation.metrics[name], evaluation.draws[name] = [], {}
    for measures in parts:  # those of lists and of predictions are over different users
        draws = draw_means(measures, seed=seed)
        bounds = np.percentile(draws, [_OUTSIDE, 100 - _OUTSIDE], axis=0).T.tolist()
        for measure, (low, high), column in zip(measures, bounds, draws.T, strict=True):
            value = MetricValue(measure.metric, measure.k, measure.value, low, high)
            evaluation.metrics[name].append(value)
            evaluation.draws[name][measure.metric, measure.k] = column
