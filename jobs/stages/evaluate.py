"""Measure models on ratings that their training does not see, and choose between them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from jobs.errors import InputError
from jobs.process.clock import StageClock
from jobs.settings.evaluate import EvaluateConfig
from jobs.settings.models.sections import AUTO
from jobs.settings.train import TrainConfig
from jobs.tables.published import EVALUATION
from recsys_core.arrays import Csr, Float64Array
from recsys_core.evaluation.comparison import Evaluation, evaluate_models
from recsys_core.evaluation.splits import (
    Split,
    TimedRatings,
    hold_out_after,
    hold_out_at_random,
    hold_out_latest,
    hold_out_users,
)
from recsys_core.models.base import TrainedModel

logger = logging.getLogger(__name__)

Train = Callable[[csr_matrix, TrainConfig], TrainedModel]
BASELINE = "popularity"


@dataclass(frozen=True)
class EvaluationReport:
    """Models measured on one split, and the one to take."""

    evaluation: Evaluation
    split: Split
    config: EvaluateConfig
    best: str
    """The model with the highest ``evaluate.select_by``."""
    train_seconds: dict[str, float]

    @property
    def gain_over_popularity(self) -> float:
        """By how much the best model is above popularity."""
        return self.evaluation.compare(self.best, BASELINE, *self.config.metric)[0]

    def to_table(self) -> pd.DataFrame:
        """The rows of ``EVALUATION``."""
        rows = [
            {"model": model, **asdict(value)}
            for model, values in self.evaluation.metrics.items()
            for value in values
        ]
        table = pd.DataFrame(rows, columns=[column.name for column in EVALUATION.columns])
        return table.astype({"k": "Int32", "low": "float64", "high": "float64"})

    def describe(self) -> dict[str, Any]:
        """The account of the evaluation for the manifest, as JSON data."""
        return {
            **self.config.model_dump(exclude={"enabled"}),
            "users": self.evaluation.n_users,
            "training_ratings": self.split.train.nnz,
            "held_out_ratings": self.split.held_out.nnz,
            "best": self.best,
            "gain_over_popularity": self.gain_over_popularity,
            "compared_with": {
                other: dict(
                    zip(
                        ("difference", "low", "high"),
                        self.evaluation.compare(self.best, other, *self.config.metric),
                        strict=True,
                    )
                )
                for other in self.evaluation.metrics
                if other != self.best
            },
            "train_seconds": self.train_seconds,
            "metrics": {
                model: [asdict(value) for value in values]
                for model, values in self.evaluation.metrics.items()
            },
        }


def evaluate_candidates(
    ratings: TimedRatings,
    models: Sequence[str],
    train: Train,
    *,
    settings: TrainConfig,
    rules: EvaluateConfig,
    rating_range: tuple[float, float],
) -> EvaluationReport:
    """Train each model on the same part of the ratings, and measure it on the rest.

    Args:
        train: ``jobs.stages.train.train_model``.
        settings: those of each model.
        rating_range: lowest and highest rating; predictions are held within it.

    Raises:
        InputError: the split leaves nothing to train on or to measure; says which settings to
            change.
        JobError: as ``train``.
    """
    split = hold_out(ratings, rules)
    trained, clock = {}, StageClock()
    for model in models:
        with clock.stage(f"evaluate {model}"):
            trained[model] = train(split.train, settings.with_model(model)).model
    try:
        evaluation = evaluate_models(
            trained,
            split,
            cutoffs=rules.cutoffs,
            seed=rules.seed,
            rating_range=rating_range,
            min_relevant_rating=rules.min_relevant_rating,
        )
    except ValueError as error:
        raise InputError(f"evaluate.min_relevant_rating: {error}; lower it") from None
    metric, k = rules.metric
    best = max(models, key=lambda model: evaluation.find(model, metric, k).value)
    seconds = {model: clock.seconds[f"evaluate {model}"] for model in models}
    report = EvaluationReport(evaluation, split, rules, best, seconds)
    _log_report(report)
    return report


def needs_times(config: EvaluateConfig, *, has_timestamp: bool) -> bool:
    """Whether the split goes by the ratings' times.

    Args:
        has_timestamp: whether the input has them.

    Raises:
        InputError: it does, and the input has none.
    """
    needed = config.split in ("latest", "time")
    if needed and not has_timestamp:
        raise InputError(
            f"evaluate.split = '{config.split}' needs the time of each rating, but "
            "input.ratings has no column of it: name one in input.columns.timestamp, or take "
            "another split"
        )
    return needed


def hold_out(ratings: TimedRatings, config: EvaluateConfig) -> Split:
    """The split of the settings.

    Raises:
        InputError: nothing is left on one of its sides.
    """
    split = _hold_out(ratings.matrix, ratings.times, config)
    if split.known.shape[0] == 0 or split.train.nnz == 0:
        raise InputError(
            f"evaluate.split = '{config.split}' leaves nothing to measure: no user has ratings on "
            "both of its sides; change evaluate.held_out, evaluate.latest or the split"
        )
    return split


def hold_out_twice(ratings: TimedRatings, config: EvaluateConfig) -> tuple[Split, Split]:
    """The split of the settings, and one like it within its training part: to choose by.

    What is chosen by the second is measured on the first without having seen it.

    Raises:
        InputError: as ``hold_out``.
    """
    outer = hold_out(ratings, config)
    inner_times = None
    if ratings.times is not None:
        # A split does not look at the ratings themselves: places in their stead say which are left.
        matrix = ratings.matrix
        places = csr_matrix(
            (np.arange(matrix.nnz, dtype=np.float64), matrix.indices, matrix.indptr), matrix.shape
        )
        left = _hold_out(places, ratings.times, config).train.data.astype(np.int64)
        inner_times = ratings.times[left]
    return outer, hold_out(replace(ratings, matrix=outer.train, times=inner_times), config)


def _hold_out(matrix: Csr, times: Float64Array | None, config: EvaluateConfig) -> Split:
    if config.split == "random":
        return hold_out_at_random(matrix, fraction=config.held_out, seed=config.seed)
    if config.split == "new_users":
        return hold_out_users(
            matrix, fraction=config.held_out, known_fraction=config.known, seed=config.seed
        )
    assert times is not None  # kept where ``needs_times``
    if config.split == "latest":
        return hold_out_latest(matrix, times, n=config.latest)
    return hold_out_after(matrix, times, fraction=config.held_out)


def _log_report(report: EvaluationReport) -> None:
    evaluation, (metric, k) = report.evaluation, report.config.metric
    for model in evaluation.metrics:
        value = evaluation.find(model, metric, k)
        logger.info(
            "evaluate %s: %s@%d %.4f (95%%: %.4f to %.4f)",
            *(model, metric, k, value.value, value.low, value.high),
        )


def choose_model(settings: TrainConfig, report: EvaluationReport) -> TrainConfig:
    """The settings to train with: those of the best candidate where the model is ``auto``."""
    if settings.model != AUTO:
        return settings
    others = [model for model in report.train_seconds if model != report.best]
    metric, k = report.config.metric
    margin = "the only candidate"
    if others:
        second = max(others, key=lambda model: report.evaluation.find(model, metric, k).value)
        difference, low, high = report.evaluation.compare(report.best, second, metric, k)
        margin = (
            f"above {second} by {difference:.4f} in {report.config.select_by} "
            f"(95%: {low:.4f} to {high:.4f})"
        )
    logger.info("train.model = 'auto' chose %s, %s", report.best, margin)
    return settings.with_model(report.best)
