"""Measure models on ratings that their training does not see, and choose between them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from scipy.sparse import csr_matrix

from jobs.errors import InputError
from jobs.process.clock import StageClock
from jobs.ratings.hold_out import hold_out
from jobs.settings.evaluate import EvaluateConfig
from jobs.settings.models.sections import AUTO
from jobs.settings.train import TrainConfig
from jobs.tables.published import EVALUATION
from recsys_core.evaluation.comparison import Evaluation, evaluate_models
from recsys_core.evaluation.splits import Split, TimedRatings
from recsys_core.models.base import TrainedModel

logger = logging.getLogger(__name__)

Train = Callable[[csr_matrix, TrainConfig], TrainedModel]
BASELINE = "popularity"


@dataclass(frozen=True)
class Liking:
    """From which rating on an item is liked, and why that is not measured, if it is not."""

    min_rating: float
    left_out: str | None = None

    @property
    def measured_from(self) -> float | None:
        """``min_rating``; None where liking is not measured."""
        return self.min_rating if self.left_out is None else None


@dataclass(frozen=True)
class EvaluationReport:
    """Models measured on one split, and the one to take."""

    evaluation: Evaluation
    split: Split
    config: EvaluateConfig
    best: str
    """The model with the highest ``evaluate.select_by``."""
    train_seconds: dict[str, float]
    liking: Liking | None = None
    """None where all metrics have one bound, ``evaluate.min_relevant_rating``."""

    @property
    def gain_over_popularity(self) -> float:
        """By how much the best model is above popularity."""
        return self.evaluation.compare(self.best, BASELINE, *self.config.metric)[0]

    def _describe_liking(self) -> dict[str, Any] | None:
        if self.liking is None:
            return None
        return {**asdict(self.liking), "users": self.evaluation.n_users_liking}

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
            "liked": self._describe_liking(),
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
    needed_by = f"evaluate.select_by = '{rules.select_by}'" if rules.selects_liked else None
    liking = find_liking(split, rules, rating_range[1], needed_by=needed_by)
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
            min_relevant_rating=rules.min_relevant_rating or 0.0,
            min_liked_rating=None if liking is None else liking.measured_from,
        )
    except ValueError as error:
        raise InputError(f"evaluate.min_relevant_rating: {error}; lower it") from None
    metric, k = rules.metric
    best = max(models, key=lambda model: evaluation.find(model, metric, k).value)
    seconds = {model: clock.seconds[f"evaluate {model}"] for model in models}
    report = EvaluationReport(evaluation, split, rules, best, seconds, liking)
    _log_report(report)
    return report


def find_liking(
    split: Split, rules: EvaluateConfig, max_rating: float, *, needed_by: str | None
) -> Liking | None:
    """What is liked among the held-out ratings; None where all metrics have one bound.

    Args:
        needed_by: the setting that names a metric of what is liked; None: liking may be left out.

    Raises:
        InputError: ``needed_by`` needs liking, and no held-out rating tells of it.
    """
    min_rating = rules.find_liked_rating(max_rating)
    if min_rating is None:
        return None
    held_out, left_out = split.held_out.data, None
    if not (held_out >= min_rating).any():
        left_out = f"no held-out rating is {min_rating:g} or more"
    elif held_out.min() == held_out.max():
        left_out = "all held-out ratings are equal"
    if left_out is None:
        return Liking(min_rating)
    bound = f"evaluate.min_liked_share = {rules.min_liked_share:g} of clean.max_rating"
    if needed_by is not None:
        raise InputError(
            f"{needed_by}: {left_out} ({bound}); lower it, or take a metric that is not of what is "
            "liked"
        )
    logger.info("evaluate: what is liked is not measured: %s (%s)", left_out, bound)
    return Liking(min_rating, left_out)


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
