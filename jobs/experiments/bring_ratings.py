"""``evaluate`` and ``tune``: what a night would train on, tried out, and nothing published."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession

from jobs.input.read_ratings import read_ratings
from jobs.machine.session import choose_partitions
from jobs.ratings.clean import clean_ratings, require_few_refused
from jobs.ratings.collect import collect_ratings
from jobs.ratings.gather import account_rows
from jobs.ratings.hold_out import needs_times
from jobs.ratings.index import index_ratings
from jobs.settings.config import Config
from jobs.stages.evaluate import EvaluationReport, evaluate_candidates
from jobs.stages.train import train_model
from recsys_core.evaluation.splits import TimedRatings

if TYPE_CHECKING:
    from jobs.experiments.tune import Tuning

logger = logging.getLogger(__name__)


def bring_ratings(spark: SparkSession, config: Config) -> TimedRatings:
    """Read, clean and index the ratings, and bring them to the driver, as a night does.

    Raises:
        InputError: as a night.
    """
    source = read_ratings(spark, config.input, config.clean)
    keep_times = needs_times(config.evaluate, has_timestamp=source.has_timestamp)
    n_partitions = choose_partitions(spark, config.spark, source.bytes)
    account = account_rows(source.rows, n_partitions, keep_times=keep_times)
    clean = clean_ratings(account, config.clean)
    require_few_refused(account.refused, clean.funnel[0].rows, config.clean.max_bad_fraction)
    indexed = index_ratings(clean.ratings, clean.items)
    ratings = collect_ratings(
        indexed.frame,
        len(indexed.index),
        max_users=config.train.max_users,
        seed=config.train.seed,
    )
    logger.info(
        "%s ratings by %s users of %s items",
        f"{ratings.matrix.nnz:,}",
        *(f"{n:,}" for n in ratings.matrix.shape),
    )
    spark.catalog.clearCache()
    return ratings


def measure_models(spark: SparkSession, config: Config, models: Sequence[str]) -> EvaluationReport:
    """Train and measure ``models`` side by side; ``evaluate.enabled`` need not be set.

    Raises:
        JobError: as a night, as far as training.
    """
    return evaluate_candidates(
        bring_ratings(spark, config),
        models,
        train_model,
        settings=config.train,
        rules=config.evaluate,
        rating_range=config.clean.rating_range,
    )


def tune_settings(spark: SparkSession, config: Config, n_trials: int) -> "Tuning":
    """Search the settings of ``tune.*``.

    Raises:
        JobError: as a night, as far as training; see also ``tune_models``.
    """
    from jobs.experiments.tune import tune_models  # optuna is an extra that only this needs

    return tune_models(
        bring_ratings(spark, config),
        config.tune.with_trials(n_trials),
        partial(train_model, quiet=True),
        settings=config.train,
        rules=config.evaluate,
        rating_range=config.clean.rating_range,
    )
