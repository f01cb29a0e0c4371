"""Search for settings, by a part of the training ratings; say what was won on the held-out ones.

The split of ``evaluate.*`` is made twice: settings are chosen on a part of its training ratings, so
that the held-out ratings can then tell what the choice is worth.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import pandas as pd

from jobs.errors import ConfigError, JobError, TrainingFailedError
from jobs.settings.config import Config
from jobs.settings.train import TrainConfig
from jobs.settings.tune import SearchRange, TuneConfig, to_setting
from jobs.stages.evaluate import Train, describe_measuring, hold_out_twice
from recsys_core.evaluation.comparison import Evaluation, evaluate_models, measure_metric
from recsys_core.evaluation.splits import Split, TimedRatings
from recsys_core.models.base import FactorModel
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
    best: Config
    """The settings of the best trials, and for ``train.model`` the best of the models."""
    evaluation: Evaluation
    """Each model as it was and as it is, on ratings the search did not see: 'ease, configured',
    where that can be trained, and 'ease, tuned'."""


def tune_models(ratings: TimedRatings, config: Config, n_trials: int, train: Train) -> Tuning:
    """Try ``n_trials`` settings of each model, those configured first where they are in the space.

    Equal ratings, settings and seeds give equal trials.

    Args:
        train: ``jobs.stages.train.train_model``.

    Raises:
        ConfigError: the metric is one of predictions, and a model makes none.
        InputError: as ``jobs.stages.evaluate.hold_out``.
        JobError: no trial of a model could be trained.
    """
    models = config.tune.models or config.train.models
    _require_metric(config.tune, models)
    outer, inner = hold_out_twice(ratings, config.evaluate)
    studies = {model: _search(model, inner, config, n_trials, train) for model in models}
    best = _take_best(config, studies)
    evaluation = _compare(outer, {CONFIGURED: config, TUNED: best}, models, train)
    trials = [_list_trials(model, study) for model, study in studies.items()]
    return Tuning(pd.concat(trials, ignore_index=True), best, evaluation)


def read_metric(config: TuneConfig) -> tuple[str, int | None]:
    """``tune.metric`` as the metric and its k, which is None for predictions."""
    name, _, k = config.metric.partition("@")
    return name, int(k) if k else None


def _is_error(config: TuneConfig) -> bool:
    return read_metric(config)[1] is None


def _require_metric(config: TuneConfig, models: Sequence[str]) -> None:
    silent = [model for model in models if not MODELS[model].model.predicts_ratings]
    if _is_error(config) and silent:
        raise ConfigError(
            f"tune.metric = '{config.metric}' is of predicted ratings, and '{silent[0]}' predicts "
            "none: take a metric of lists, or other tune.models"
        )


def _search(model: str, split: Split, config: Config, n_trials: int, train: Train) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the line for each trial is ours
    study = optuna.create_study(
        direction="minimize" if _is_error(config.tune) else "maximize",
        sampler=optuna.samplers.TPESampler(seed=config.tune.seed),
    )
    space, configured = config.tune.space(model), getattr(config.train, model).model_dump()
    if all(_holds(search, configured[name]) for name, search in space.items()):
        study.enqueue_trial({name: configured[name] for name in space})

    def try_settings(trial: optuna.Trial) -> float:
        chosen = {
            name: _suggest(trial, name, search, config.train, model)
            for name, search in space.items()
        }
        trial.set_user_attr(_SETTINGS, chosen)
        started = time.perf_counter()
        try:
            trained = train(split.train, _apply(config.train, model, chosen)).model
        except TrainingFailedError as error:
            logger.warning("tune %s, trial %d: %s", model, trial.number, error)
            raise optuna.TrialPruned from None
        value = _measure(trained, split, config)
        trial.set_user_attr(_SECONDS, time.perf_counter() - started)
        settings = ", ".join(f"{name} {_show(setting)}" for name, setting in chosen.items())
        logger.info(
            "tune %s, trial %d: %s %.4f with %s",
            *(model, trial.number, config.tune.metric, value, settings),
        )
        return value

    study.optimize(try_settings, n_trials=n_trials)
    if not any(trial.value is not None for trial in study.trials):
        raise JobError(f"no trial of '{model}' could be trained: change tune.{model}")
    return study


def _holds(search: SearchRange, value: Any) -> bool:
    if search.choices is not None:
        return value in search.choices
    assert search.low is not None
    assert search.high is not None
    return bool(search.low <= value <= search.high)


def _suggest(
    trial: optuna.Trial, name: str, search: SearchRange, config: TrainConfig, model: str
) -> Any:
    if search.choices is not None:
        return trial.suggest_categorical(name, search.choices)
    low, high = (to_setting(type(getattr(config, model)), name, end) for end in search.ends)
    suggest = trial.suggest_int if isinstance(low, int) else trial.suggest_float
    return suggest(name, low, high, log=search.log)


def _apply(config: TrainConfig, model: str, settings: Mapping[str, Any]) -> TrainConfig:
    section = getattr(config, model).model_copy(update=dict(settings))
    return config.model_copy(update={model: section, "model": model})


def _measure(model: FactorModel, split: Split, config: Config) -> float:
    """The tuned metric of one trained model."""
    return measure_metric(model, split, *read_metric(config.tune), **describe_measuring(config))


def _take_best(config: Config, studies: Mapping[str, optuna.Study]) -> Config:
    train = config.train
    for model, study in studies.items():
        train = _apply(train, model, study.best_trial.user_attrs[_SETTINGS])
    pick = min if _is_error(config.tune) else max
    best_model = pick(studies, key=lambda model: studies[model].best_value)
    return config.model_copy(update={"train": train.with_model(best_model)})


def _compare(
    split: Split, configs: Mapping[str, Config], models: Sequence[str], train: Train
) -> Evaluation:
    trained = {}
    for model in models:
        for name, config in configs.items():
            try:
                trained_model = train(split.train, config.train.with_model(model)).model
            except TrainingFailedError as error:  # what is configured may be what has to change
                logger.warning("tune %s, %s: %s", model, name, error)
                continue
            trained[f"{model}, {name}"] = trained_model
    config = configs[CONFIGURED]
    k = read_metric(config.tune)[1]
    cutoffs = sorted({*config.evaluate.cutoffs, *([k] if k is not None else [])})
    return evaluate_models(
        trained, split, cutoffs=cutoffs, seed=config.evaluate.seed, **describe_measuring(config)
    )


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
