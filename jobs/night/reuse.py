"""Use the current run again: its model for a night that trains nothing, and lists that still hold.

The model is that of the run that readers are led to, whole and as its manifest says. Whoever calls
holds ``Storage.lock``, or only looks: the current run is never removed.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from jobs.errors import ConfigError, InputError
from jobs.night.choices import Choices
from jobs.ratings.cleaning_rules import GivenItems
from jobs.runs.current import find_current
from jobs.runs.model_files import open_model
from jobs.runs.records import RunRecord, read_current
from jobs.runs.run import Run
from jobs.settings.input import IdType
from jobs.settings.lists import RulesConfig, ScoreConfig
from jobs.settings.train import TrainConfig
from jobs.storage.base import Storage
from jobs.tables.columns import USER_ID
from jobs.tables.published import RECOMMENDATIONS, SCORED_USERS
from recsys_core.models.base import TrainedModel
from recsys_core.models.registry import PartSizes
from recsys_core.query.saved_model import FILES, SavedModel

logger = logging.getLogger(__name__)

_SCORES_DEPEND_ON = ("recsys-nightly", "numba", "numpy", "scipy")
"""Packages: another version may give another last digit."""


@dataclass(frozen=True)
class ReusedModel:
    """A model that a night takes over, and the run it takes it from."""

    record: RunRecord
    """The run that is current."""
    saved: SavedModel

    @property
    def trained_in(self) -> str:
        """The run that trained the model; ``record`` may have taken it over itself."""
        return str(self.saved.facts["run_id"])

    @property
    def origin(self) -> str:
        """What people are told the items are of."""
        return f"the model of run {self.trained_in}"

    @property
    def parts(self) -> PartSizes:
        """How large the model is."""
        model, weights = self.saved.model, 0
        if model.item_weights is not None:
            weights = -(-model.item_weights.matrix.nnz // max(model.n_items, 1))
        return PartSizes(model.item_factors.shape[1], weights)

    @property
    def trained(self) -> TrainedModel:
        """The model as its training left it."""
        facts = self.saved.facts
        device = str(facts.get("device", "cpu"))
        return TrainedModel(self.saved.model, facts["losses"], facts["figures"], device)

    def describe_training(self) -> dict[str, Any]:
        """The facts of the training as they were, and where they come from."""
        return {**self.saved.facts, "reused_from": self.trained_in}


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


def load_current_model(storage: Storage) -> ReusedModel:
    """The model of the current run.

    Raises:
        ConfigError: no run is current.
        InputError: its manifest or model is missing or damaged.
    """
    current = find_current(storage)
    if current is None:
        raise ConfigError(
            f"--reuse-model: no run is current in {storage.root}; run once without it"
        )
    advice = "run without --reuse-model, or `rollback` to a run that is whole"
    label = f"--reuse-model: run {current.run_id}"
    record = read_current(storage)
    if record is None:
        raise InputError(f"{label} has no readable manifest; {advice}")
    sha256 = record.manifest.get("model_sha256")
    if not isinstance(sha256, dict):
        raise InputError(f"{label}: its manifest does not say what its model is; {advice}")
    try:
        saved = open_model(_read_model(storage, f"{current.place}/model"), sha256, label)
    except InputError as error:
        raise InputError(f"{error}; {advice}") from None
    return ReusedModel(record, saved)


def _read_model(storage: Storage, place: str) -> dict[str, bytes]:
    """The files of a model that are there."""
    return {
        name: storage.read(f"{place}/{name}") for name in FILES if storage.exists(f"{place}/{name}")
    }


def require_scored_users(storage: Storage, run: Run) -> None:
    """Refuse to look for changed users where nothing says what they have changed from.

    Raises:
        ConfigError: the run has no table of that.
    """
    if not storage.exists(f"{run.place}/{SCORED_USERS.name}"):
        raise ConfigError(
            f"--changed-only: run {run.run_id} has no table '{SCORED_USERS.name}'; run once "
            "without --changed-only and with publish.scored_users = true"
        )


def take_items(reused: ReusedModel, config: TrainConfig, item_id_type: IdType) -> GivenItems:
    """The items of a model that is used again; logs that it is.

    Raises:
        InputError: item ids of the input are of another type.
    """
    require_item_ids(reused, item_id_type)
    announce_reuse(reused, config)
    return GivenItems(reused.saved.catalog.index, reused.origin)


def require_item_ids(reused: ReusedModel, id_type: str) -> None:
    """Refuse input whose item ids cannot be those of the model.

    Args:
        id_type: ``integer`` or ``string``, of the input.

    Raises:
        InputError: the model's ids are of the other type.
    """
    of_model = "string" if reused.saved.catalog.item_ids.dtype == object else "integer"
    if of_model != id_type:
        raise InputError(
            f"--reuse-model: item ids are of type {id_type} in the input and {of_model} in "
            f"{reused.origin}: set input.item_id_type, or run without --reuse-model"
        )


def announce_reuse(reused: ReusedModel, config: TrainConfig) -> None:
    """Log which model is used, and where the settings ask for another."""
    logger.info("%s is used again: train.* and evaluate.* are not", reused.origin)
    differences = [*_compare_settings(reused.saved.facts, config)]
    if differences:
        logger.warning(
            "%s was trained with other settings than are configured: %s",
            reused.origin,
            "; ".join(differences),
        )


def _compare_settings(facts: Mapping[str, Any], config: TrainConfig) -> Iterator[str]:
    """Each setting of the training that is configured otherwise now."""
    kind = facts.get("model")
    if kind not in config.models:
        yield f"train.model = {config.model!r}, it is {kind!r}"
        return
    trained_with = {"seed": facts.get("seed")}
    configured: dict[str, Any] = {"seed": config.seed}
    configured |= {f"{kind}.{k}": v for k, v in config.settings_of(kind).items()}
    trained_with |= {f"{kind}.{k}": v for k, v in facts.get("settings", {}).items()}
    for name, value in configured.items():
        if trained_with.get(name) != value:
            yield f"train.{name} = {value!r}, it has {trained_with.get(name)!r}"


@dataclass(frozen=True)
class EarlierLists:
    """Tables of the run whose lists may be kept."""

    run_id: str
    lists: DataFrame
    """``RECOMMENDATIONS``, with or without titles."""
    scored_users: DataFrame
    """``SCORED_USERS``."""


def find_earlier_lists(
    spark: SparkSession,
    storage: Storage,
    reused: ReusedModel,
    score: ScoreConfig,
    rules: RulesConfig,
    ratings: DataFrame,
) -> EarlierLists | None:
    """The lists of the current run, where equal ratings would give them again.

    Their model is the one that is used, by the way it was loaded; everything else that makes a list
    is compared here.

    Args:
        ratings: ``IndexedRatings.frame``.

    Returns:
        None, and the reason in the log, where everyone has to be scored anew.
    """
    place, run_id = reused.record.run.place, reused.record.run_id
    reason = _explain_rescoring(reused.record.manifest, score, rules)
    if reason is None and not storage.exists(f"{place}/{RECOMMENDATIONS.name}"):
        reason = "its lists are gone"
    if reason is None:
        lists, scored = (
            spark.read.parquet(storage.uri(f"{place}/{table.name}"))
            for table in (RECOMMENDATIONS, SCORED_USERS)
        )
        if all(
            table.schema[USER_ID].dataType == ratings.schema[USER_ID].dataType
            for table in (lists, scored)
        ):
            return EarlierLists(run_id, lists, scored)
        reason = "user ids are of another type"
    logger.warning("everyone is scored anew, no list of run %s is kept: %s", run_id, reason)
    return None


def _explain_rescoring(
    manifest: Mapping[str, Any], score: ScoreConfig, rules: RulesConfig
) -> str | None:
    """What makes lists of a run unlike tonight's for users of equal ratings; None where nothing."""
    before = manifest.get("config", {})
    for name, section in {"score": score, "rules": rules}.items():
        if before.get(name) != section.model_dump(mode="json"):
            return f"settings of {name}.* have changed"
    if rules.are_set:  # which depend on titles' genres, clusters and files of items, too
        return "rules.* are set, whose effects are counted over all lists"
    versions = manifest.get("versions", {})
    for package in _SCORES_DEPEND_ON:
        if versions.get(package) != version(package):
            return f"{package} was {versions.get(package)} and is {version(package)}"
    return None
