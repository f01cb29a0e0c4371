"""Search for settings, by a part of the training ratings; say what was won on the held-out ones.

The split of ``evaluate.*`` is made twice: settings are chosen on a part of its training ratings, so
that the held-out ratings can then tell what the choice is worth.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
import pandas as pd

from jobs.errors import ConfigError, JobError, TrainingFailedError
from jobs.ratings.hold_out import hold_out_twice
from jobs.settings.evaluate import EvaluateConfig
from jobs.settings.models.base import ModelSection, SearchRange
from jobs.settings.train import TrainConfig
from jobs.settings.tune import TuneConfig
from jobs.stages.evaluate import Train, find_liking
from recsys_core.evaluation.comparison import Evaluation, evaluate_models, measure_metric
from recsys_core.evaluation.metric_names import split_liked
from recsys_core.evaluation.splits import Split, TimedRatings
from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.base import TrainedModel
from recsys_core.models.registry import MODELS

logger = logging.getLogger(__name__)

CONFIGURED, TUNED = "configured", "tuned"
_SETTINGS, _SECONDS = "settings", "seconds"  # what a trial remembers


@dataclass(frozen=True)
class Tuning:
    """Every trial, and the best settings against those there were."""

    trials: pd.DataFrame
    """model, trial, value (null where training failed), seconds, and a column for each setting
    that was searched, as ease.regularization."""
    best: TrainConfig
    """The settings of the best trials, and for ``train.model`` the best of the models."""
    evaluation: Evaluation
    """Each model as it was and as it is, on ratings the search did not see: 'ease, configured',
    where that can be trained, and 'ease, tuned'."""
    searched: TuneConfig
    """What was searched, and by which metric."""


def tune_models(
    ratings: TimedRatings,
    tune: TuneConfig,
    train: Train,
    *,
    settings: TrainConfig,
    rules: EvaluateConfig,
    rating_range: tuple[float, float],
) -> Tuning:
    """Try ``tune.trials`` settings of each model, first those configured where the space has them.

    Equal ratings, settings and seeds give equal trials.

    Args:
        train: ``jobs.stages.train.train_model``.
        settings: those to begin with, and to keep where none is searched.
        rules: the split, and what counts on it.
        rating_range: lowest and highest rating; predictions are held within it.

    Raises:
        ConfigError: the metric is one of predictions, and a model makes none; or one of what is
            liked, beside a bound of the settings' own.
        InputError: as ``jobs.ratings.hold_out.hold_out``; the metric is one of what is liked, and
            no held-out rating tells of it.
        JobError: no trial of a model could be trained.
    """
    models = tune.models or settings.models
    _require_metric(tune, models)
    outer, inner = hold_out_twice(ratings, rules)
    measuring: dict[str, Any] = {
        "rating_range": rating_range,
        "min_relevant_rating": rules.min_relevant_rating or 0.0,
        "min_liked_rating": _find_liked_rating(outer, tune, rules, rating_range[1]),
    }

    def measure(model: ItemModel) -> float:
        return measure_metric(model, inner, *tune.measured, **measuring)

    studies = {
        model: _search(model, tune, settings, partial(train, inner.train), measure)
        for model in models
    }
    best = _take_best(settings, studies, tune)
    trained = _train_both(models, {CONFIGURED: settings, TUNED: best}, partial(train, outer.train))
    evaluation = evaluate_models(
        trained, outer, cutoffs=_list_cutoffs(tune, rules), seed=rules.seed, **measuring
    )
    trials = [_list_trials(model, study) for model, study in studies.items()]
    return Tuning(pd.concat(trials, ignore_index=True), best, evaluation, tune)


def _require_metric(tune: TuneConfig, models: Sequence[str]) -> None:
    silent = [model for model in models if not MODELS[model].model.predicts_ratings]
    if tune.minimizes and silent:
        raise ConfigError(
            f"tune.metric = '{tune.metric}' is of predicted ratings, and '{silent[0]}' predicts "
            "none: take a metric of lists, or other tune.models"
        )


def _find_liked_rating(
    split: Split, tune: TuneConfig, rules: EvaluateConfig, max_rating: float
) -> float | None:
    """From which rating on an item is liked, where the metric asks for it; else None."""
    if not split_liked(tune.measured[0])[1]:
        return None
    setting = f"tune.metric = '{tune.metric}'"
    liking = find_liking(split, rules, max_rating, needed_by=setting)
    if liking is None:
        raise ConfigError(f"{setting}, but evaluate.min_relevant_rating is set: leave it unset")
    return liking.min_rating


def _list_cutoffs(tune: TuneConfig, rules: EvaluateConfig) -> list[int]:
    k = tune.measured[1]
    return sorted({*rules.cutoffs, *([k] if k is not None else [])})


def _search(
    model: str,
    tune: TuneConfig,
    settings: TrainConfig,
    train: Callable[[TrainConfig], TrainedModel],
    measure: Callable[[ItemModel], float],
) -> optuna.Study:
    """The trials of one model."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the line for each trial is ours
    study = optuna.create_study(
        direction="minimize" if tune.minimizes else "maximize",
        sampler=optuna.samplers.TPESampler(seed=tune.seed),
    )
    space, section = tune.space(model), settings.section(model)
    configured = {name: getattr(section, name) for name in space}
    if all(search.holds(configured[name]) for name, search in space.items()):
        study.enqueue_trial(configured)

    def try_settings(trial: optuna.Trial) -> float:
        chosen = {name: _suggest(trial, name, space[name], type(section)) for name in space}
        trial.set_user_attr(_SETTINGS, chosen)
        started = time.perf_counter()
        try:
            trained = train(settings.with_settings(model, chosen)).model
        except TrainingFailedError as error:
            logger.warning("tune %s, trial %d: %s", model, trial.number, error)
            raise optuna.TrialPruned from None
        value = measure(trained)
        trial.set_user_attr(_SECONDS, time.perf_counter() - started)
        shown = ", ".join(f"{name} {_show(setting)}" for name, setting in chosen.items())
        logger.info(
            "tune %s, trial %d: %s %.4f with %s",
            *(model, trial.number, tune.metric, value, shown),
        )
        return value

    study.optimize(try_settings, n_trials=tune.trials)
    if not any(trial.value is not None for trial in study.trials):
        raise JobError(f"no trial of '{model}' could be trained: change tune.{model}")
    return study


def _suggest(
    trial: optuna.Trial, name: str, search: SearchRange, section: type[ModelSection]
) -> Any:
    if search.choices is not None:
        return trial.suggest_categorical(name, search.choices)
    low, high = (section.to_setting(name, end) for end in search.ends)
    suggest = trial.suggest_int if isinstance(low, int) else trial.suggest_float
    return suggest(name, low, high, log=search.log)


def _take_best(
    settings: TrainConfig, studies: Mapping[str, optuna.Study], tune: TuneConfig
) -> TrainConfig:
    for model, study in studies.items():
        settings = settings.with_settings(model, study.best_trial.user_attrs[_SETTINGS])
    pick = min if tune.minimizes else max
    return settings.with_model(pick(studies, key=lambda model: studies[model].best_value))


def _train_both(
    models: Sequence[str],
    settings: Mapping[str, TrainConfig],
    train: Callable[[TrainConfig], TrainedModel],
) -> dict[str, ItemModel]:
    """Each model with each of the settings, as 'ease, tuned'; without those that cannot be."""
    trained = {}
    for model in models:
        for name, of_both in settings.items():
            try:
                trained_model = train(of_both.with_model(model)).model
            except TrainingFailedError as error:  # what is configured may be what has to change
                logger.warning("tune %s, %s: %s", model, name, error)
                continue
            trained[f"{model}, {name}"] = trained_model
    return trained


def _list_trials(model: str, study: optuna.Study) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": model,
            "trial": trial.number,
            "value": trial.value,
            "seconds": trial.user_attrs.get(_SECONDS),
            **{
                f"{model}.{name}": value
                for name, value in trial.user_attrs.get(_SETTINGS, {}).items()
            },
        }
        for trial in study.trials
    )


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
