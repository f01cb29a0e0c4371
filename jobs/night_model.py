"""The model of a night: trained in it, or taken over from the run that is current."""

from dataclasses import dataclass
from typing import Any

from jobs.choices import Choices
from jobs.clean import GivenItems
from jobs.config import Config, IdType
from jobs.evaluate import EvaluationReport, choose_model, evaluate_candidates
from jobs.index import IndexedRatings
from jobs.manifest import describe_training
from jobs.read import RatingsInput
from jobs.reuse import (
    ReusedModel,
    announce_reuse,
    load_current_model,
    require_item_ids,
    require_scored_users,
)
from jobs.run_id import Run
from jobs.stages import StageClock
from jobs.storage import Storage
from jobs.train import collect_ratings, train_model
from recsys_core.factor_model import TrainedModel


@dataclass(frozen=True)
class NightModel:
    """The model that a night scores with."""

    trained: TrainedModel
    training: dict[str, Any]
    """Facts of the training, for manifest and saved model."""
    report: EvaluationReport | None = None
    """What models were measured to be; None where none was."""


def load_reused(storage: Storage, choices: Choices) -> ReusedModel | None:
    """The model to take over; None where the night trains its own.

    Raises:
        ConfigError, InputError: as ``load_current_model`` and ``require_scored_users``.
    """
    if not choices.reuse_model:
        return None
    reused = load_current_model(storage)
    if choices.changed_only:
        require_scored_users(storage, reused.record.run)
    return reused


def take_items(reused: ReusedModel, config: Config, item_id_type: IdType) -> GivenItems:
    """The items of a model that is used again, which is said.

    Raises:
        InputError: item ids of the input are of another type.
    """
    require_item_ids(reused, item_id_type)
    announce_reuse(reused, config.train)
    return GivenItems(reused.saved.catalog.index, reused.origin)


def make_model(
    config: Config, clock: StageClock, indexed: IndexedRatings, run: Run, source: RatingsInput
) -> NightModel:
    """Bring the ratings to the driver, choose among models where that is wanted, and train."""
    train, report = config.train, None
    with clock.stage("collect"):
        ratings = collect_ratings(
            indexed.frame, len(indexed.index), max_users=train.max_users, seed=train.seed
        )
    if config.evaluates:
        with clock.stage("evaluate"):
            report = evaluate_candidates(ratings, train.models, train_model, config=config)
            train = choose_model(train, report)
    with clock.stage("train"):
        trained = train_model(ratings.matrix, train)
    training = describe_training(config, train, trained, run, source, ratings.matrix)
    return NightModel(trained, training, report)


def reuse_model(reused: ReusedModel) -> NightModel:
    """The model of another run, with the facts of its training there."""
    return NightModel(reused.trained, reused.describe_training())
