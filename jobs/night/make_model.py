"""The model of a night: trained in it, or taken over from the run that is current."""

from dataclasses import dataclass
from typing import Any

from jobs.night.context import Night
from jobs.night.manifest import describe_training
from jobs.night.prepare_ratings import NightInput, NightRatings
from jobs.ratings.collect import collect_ratings
from jobs.stages.evaluate import EvaluationReport, choose_model, evaluate_candidates
from jobs.stages.train import train_model
from jobs.tables.published import EVALUATION
from recsys_core.models.base import TrainedModel


@dataclass(frozen=True)
class NightModel:
    """The model that a night scores with."""

    trained: TrainedModel
    training: dict[str, Any]
    """Facts of the training, for manifest and saved model."""
    report: EvaluationReport | None = None
    """What models were measured to be; None where none was."""


def make_model(night: Night, source: NightInput, ratings: NightRatings) -> NightModel:
    """The model of the night, its measurements written down where there are any.

    One that is used again comes with the facts of its training in another run.
    """
    if source.reused is not None:
        return NightModel(source.reused.trained, source.reused.describe_training())
    config, indexed, train = night.config, ratings.indexed, night.config.train
    with night.clock.stage("collect"):
        collected = collect_ratings(
            indexed.frame, len(indexed.index), max_users=train.max_users, seed=train.seed
        )
    report = None
    if config.evaluates:
        with night.clock.stage("evaluate"):
            report = evaluate_candidates(
                collected,
                train.models,
                train_model,
                settings=train,
                rules=config.evaluate,
                rating_range=config.clean.rating_range,
            )
            train = choose_model(train, report)
            night.staged.write_local_table(night.spark, EVALUATION, report.to_table())
    with night.clock.stage("train"):
        trained = train_model(collected.matrix, train)
    training = describe_training(
        train,
        trained,
        night.staged.run,
        source.ratings,
        collected.matrix,
        read_as=config.input,
        rating_range=config.clean.rating_range,
    )
    return NightModel(trained, training, report)
