"""Models side by side on one split: every metric with its interval, baselines always among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from recsys_core.arrays import Csr, Float64Array
from recsys_core.evaluation.baselines import ItemMeanModel, PopularityModel, count_ratings
from recsys_core.evaluation.metrics import (
    UserMeasure,
    draw_means,
    measure_catalogue,
    measure_coverage,
    measure_lists,
    measure_predictions,
    predict_ratings,
    rank_users,
)
from recsys_core.evaluation.splits import Split, take_ratings
from recsys_core.model_form.item_model import ItemModel

_TAIL = 2.5
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
    """95% bootstrap interval over users; None for coverage, which is no mean over users."""


@dataclass
class Evaluation:
    """Every metric of every model on one split."""

    n_users: int
    """Users whose lists were measured."""
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
        low, high = np.percentile(draws, [_TAIL, 100 - _TAIL]).tolist()
        return difference, low, high


def evaluate_models(
    models: Mapping[str, ItemModel],
    split: Split,
    *,
    cutoffs: Sequence[int],
    rating_range: tuple[float, float],
    min_relevant_rating: float = 0.0,
    seed: int = 0,
) -> Evaluation:
    """Measure models, and popularity and item means beside them, on the held-out ratings.

    Args:
        models: trained on ``split.train``, by the name they are to have in the result.
        cutoffs: lengths k of the lists.
        rating_range: lowest and highest rating; predictions are held within it.
        min_relevant_rating: held-out ratings below it count as not relevant; users who have no
            other are not measured by their lists.
        seed: of the bootstrap.

    Raises:
        ValueError: no user has a relevant held-out rating.
    """
    known, relevant = _take_relevant(split, min_relevant_rating)
    evaluation = Evaluation(known.shape[0])
    baselines = {
        "popularity": PopularityModel.of(split.train),
        "item_mean": ItemMeanModel.of(split.train),
    }
    for name, model in {**models, **baselines}.items():
        measures, coverage = _measure_ranking(model, split.train, known, relevant, cutoffs)
        parts = [measures]
        if model.predicts_ratings:
            predicted = predict_ratings(model, split.known, split.held_out, rating_range)
            parts.append(measure_predictions(predicted, split.held_out))
        _add_model(evaluation, name, parts, seed)
        evaluation.metrics[name] += coverage
    return evaluation


def measure_metric(
    model: ItemModel,
    split: Split,
    metric: str,
    k: int | None,
    *,
    rating_range: tuple[float, float],
    min_relevant_rating: float = 0.0,
) -> float:
    """One metric of one model, as ``evaluate_models`` has it, without what surrounds it.

    Raises:
        KeyError: there is no such metric.
        ValueError: as ``evaluate_models``.
    """
    if k is None:
        predicted = predict_ratings(model, split.known, split.held_out, rating_range)
        measures = measure_predictions(predicted, split.held_out)
    else:
        known, relevant = _take_relevant(split, min_relevant_rating)
        measures = measure_lists(rank_users(model, known, k), relevant, [k])
    return {measure.metric: measure.value for measure in measures}[metric]


def _take_relevant(split: Split, min_rating: float) -> tuple[Csr, Csr]:
    """Known and relevant ratings of the users who have any relevant one."""
    relevant = take_ratings(split.held_out, split.held_out.data >= min_rating)
    users = np.flatnonzero(np.diff(relevant.indptr) > 0)
    if len(users) == 0:
        raise ValueError("no user has a relevant rating among those held out")
    return split.known[users], relevant[users]


def _measure_ranking(
    model: ItemModel, train: Csr, known: Csr, relevant: Csr, cutoffs: Sequence[int]
) -> tuple[list[UserMeasure], list[MetricValue]]:
    lists = rank_users(model, known, max(cutoffs))
    measures = [
        *measure_lists(lists, relevant, cutoffs),
        *measure_catalogue(lists, count_ratings(train), cutoffs),
    ]
    coverage = [
        MetricValue("coverage", k, measure_coverage(lists, train.shape[1], k), None, None)
        for k in cutoffs
    ]
    return measures, coverage


def _add_model(
    evaluation: Evaluation, name: str, parts: Sequence[Sequence[UserMeasure]], seed: int
) -> None:
    """Put the metrics of one model, with their intervals, into ``evaluation``."""
    evaluation.metrics[name], evaluation.draws[name] = [], {}
    for measures in parts:  # those of lists and of predictions are over different users
        draws = draw_means(measures, seed=seed)
        bounds = np.percentile(draws, [_TAIL, 100 - _TAIL], axis=0).T.tolist()
        for measure, (low, high), column in zip(measures, bounds, draws.T, strict=True):
            value = MetricValue(measure.metric, measure.k, measure.value, low, high)
            evaluation.metrics[name].append(value)
            evaluation.draws[name][measure.metric, measure.k] = column
