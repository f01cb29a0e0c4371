"""The search for settings: repeatable, better on ratings it did not see, and written down."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import make_config
from core_examples import draw_ratings
from scipy.sparse import csr_matrix

from jobs.errors import ConfigError, InputError, JobError, TrainingFailedError
from jobs.experiments.tune import Tuning, tune_models
from jobs.experiments.tuning_report import require_directory, tabulate_tuning, write_tuning
from jobs.settings.config import Config
from jobs.settings.toml import load_config
from jobs.settings.train import TrainConfig
from jobs.stages.evaluate import Train
from jobs.stages.train import train_model
from recsys_core.evaluation.splits import TimedRatings
from recsys_core.models.base import TrainedModel

train_quietly = partial(train_model, quiet=True)
SPACE = {"low": 0.01, "high": 10_000.0, "log": True}


def tune(ratings: TimedRatings, config: Config, n_trials: int, train: Train) -> Tuning:
    return tune_models(
        ratings,
        config.tune.with_trials(n_trials),
        train,
        settings=config.train,
        rules=config.evaluate,
        rating_range=config.clean.rating_range,
    )


def make_tuning_config(**tune: Any) -> Config:
    return make_config(
        "unused",
        train={"model": "ease", "ease": {"n_factors": 30, "regularization": 0.02}},
        tune={"ease": {"regularization": SPACE}, **tune},
    )


@pytest.fixture(scope="module")
def ratings() -> TimedRatings:
    """Users of six tastes, whose ratings are half taste and half chance."""
    rng = np.random.default_rng(0)
    taste = np.arange(300)[:, None] % 6 == np.arange(60)[None, :] % 6
    rated = rng.random(taste.shape) < np.where(taste, 0.6, 0.1)
    return TimedRatings(csr_matrix(np.where(rated, 4.0, 0.0).astype(np.float32)), None)


def test_the_best_settings_are_better_on_ratings_the_search_did_not_see(
    ratings: TimedRatings,
) -> None:
    tuning = tune(ratings, make_tuning_config(), 8, train_quietly)
    trials = tuning.trials
    assert list(trials["trial"]) == [*range(8)]
    assert trials["ease.regularization"].between(0.01, 10_000).all()
    best = trials.loc[trials["value"].idxmax()]
    assert tuning.best.ease.regularization == best["ease.regularization"]
    assert tuning.best.ease.n_factors == 30
    gain, low, _ = tuning.evaluation.compare("ease, tuned", "ease, configured", "ndcg", 10)
    assert gain > low > 0


def test_the_first_trial_is_what_is_configured(ratings: TimedRatings) -> None:
    tuning = tune(ratings, make_tuning_config(), 1, train_quietly)
    assert tuning.trials["ease.regularization"].tolist() == [0.02]
    assert tuning.best == make_tuning_config().train


def test_the_search_is_that_of_its_seed(ratings: TimedRatings) -> None:
    first, again, other = (
        tune(ratings, make_tuning_config(seed=seed), 4, train_quietly).trials.drop(
            columns="seconds"
        )
        for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_nothing_held_out_is_seen_by_a_trial(ratings: TimedRatings) -> None:
    seen: list[csr_matrix] = []

    def note(matrix: csr_matrix, config: TrainConfig) -> TrainedModel:
        seen.append(matrix)
        return train_quietly(matrix, config)

    tune(ratings, make_tuning_config(), 2, note)
    of_trials, of_comparison = seen[:2], seen[2:]
    assert (of_trials[0] != of_trials[1]).nnz == 0
    assert of_trials[0].nnz < of_comparison[0].nnz < ratings.matrix.nnz
    assert (of_trials[0] > of_comparison[0]).nnz == 0  # a part of it
    assert 0.15 < 1 - of_trials[0].nnz / of_comparison[0].nnz < 0.25


def fail_below(limit: float) -> Callable[[csr_matrix, TrainConfig], TrainedModel]:
    def train(matrix: csr_matrix, config: TrainConfig) -> TrainedModel:
        if config.ease.regularization < limit:
            raise TrainingFailedError("training failed: too little")
        return train_quietly(matrix, config)

    return train


def test_a_trial_that_cannot_be_trained_is_no_end(ratings: TimedRatings) -> None:
    config = make_tuning_config()
    tuning = tune(ratings, config, 6, fail_below(10.0))
    trials = tuning.trials
    failed = trials["ease.regularization"] < 10
    assert failed[0]
    assert not failed.all()
    assert (trials["value"].isna() == failed).all()
    assert "ease, configured" not in tuning.evaluation.metrics
    assert list(tabulate_tuning(tuning).columns[1].cells) == ["-"]
    with pytest.raises(JobError, match=r"no trial of 'ease' could be trained: change tune\.ease"):
        tune(ratings, config, 2, fail_below(np.inf))


def test_settings_are_searched_by_what_was_liked(ratings: TimedRatings) -> None:
    config = make_tuning_config(metric="liked_ndcg@10")
    drawn = TimedRatings(draw_ratings(80, 30, density=0.4), None)
    tuning = tune(drawn, config, 2, train_quietly)
    found = tuning.evaluation.find("ease, tuned", "liked_ndcg", 10)
    assert found.value != tuning.evaluation.find("ease, tuned", "ndcg", 10).value
    by_any = tune(drawn, make_tuning_config(), 2, train_quietly)
    assert tuning.trials["value"].tolist() != by_any.trials["value"].tolist()
    with pytest.raises(InputError, match=r"tune\.metric = 'liked_ndcg@10': all held-out ratings"):
        tune(ratings, config, 1, train_quietly)
    own = config.model_copy(
        update={"evaluate": config.evaluate.model_copy(update={"min_relevant_rating": 3.0})}
    )
    with pytest.raises(ConfigError, match=r"evaluate\.min_relevant_rating is set: leave it unset"):
        tune(drawn, own, 1, train_quietly)


def test_an_error_is_made_small_and_needs_predictions() -> None:
    ratings = TimedRatings(draw_ratings(80, 20, density=0.5), None)
    shared = {
        "train": {"model": "mf", "mf": {"epochs": 15, "learning_rate": 0.02, "biases": True}},
        "tune": {"metric": "rmse", "mf": {"n_factors": {"choices": [1, 2, 16]}}},
    }
    tuning = tune(ratings, make_config("unused", **shared), 5, train_quietly)
    trials = tuning.trials
    assert set(trials["mf.n_factors"]) <= {1, 2, 16}
    best = trials.loc[trials["value"].idxmin(), "mf.n_factors"]
    assert tuning.best.mf.n_factors == best
    config = make_config("unused", tune={"metric": "rmse", "models": ["ease"]})
    with pytest.raises(ConfigError, match=r"tune\.metric = 'rmse'.*'ease' predicts none"):
        tune(ratings, config, 1, train_quietly)


def test_two_models_give_one_table_and_the_better_one(
    ratings: TimedRatings, tmp_path: Path
) -> None:
    config = make_tuning_config(models=["nmf", "ease"], nmf={"n_components": {"low": 2, "high": 8}})
    tuning = tune(ratings, config, 2, train_quietly)
    best_of = tuning.trials.groupby("model")["value"].max()
    assert tuning.best.model == best_of.idxmax()
    assert pd.api.types.is_integer_dtype(tuning.trials["nmf.n_components"].dropna().astype(int))
    require_directory(tmp_path / "tuning")
    best = config.with_training(tuning.best)
    write_tuning(tuning, best, tmp_path / "tuning")
    assert load_config(tmp_path / "tuning" / "best.toml") == best
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "tuning" / "trials.parquet"), tuning.trials
    )
    assert (tmp_path / "tuning" / "trials.png").read_bytes().startswith(b"\x89PNG")
    assert tabulate_tuning(tuning).row_count == 2


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"rank": SPACE}, "ease.rank is no setting of the model; it has n_factors, regulari"),
        ({"n_factors": {"low": 0, "high": 9}}, r"n_factors = 0.0: Input should be greater"),
        ({"regularization": {"low": 2.0}}, "needs low and high"),
        ({"regularization": {"low": 2.0, "high": 1.0}}, "low below high"),
        ({"regularization": {"low": 0.0, "high": 1.0, "log": True}}, "low must be above 0"),
        ({"regularization": {"low": 1.0, "choices": [2.0]}}, "not both"),
    ],
)
def test_a_space_that_cannot_be_searched_is_a_wrong_setting(
    space: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_tuning_config(ease=space)


def test_a_place_that_cannot_be_written_is_said_before_the_search(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match=r"--output .*file/out: cannot be written"):
        require_directory(tmp_path / "file" / "out")
