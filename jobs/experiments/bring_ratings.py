"""What a night would train on, brought to the driver to be tried out; nothing is published."""

import logging

from pyspark.sql import SparkSession

from jobs.input.read_ratings import read_ratings
from jobs.machine.session import choose_partitions
from jobs.ratings.collect import collect_ratings
from jobs.ratings.hold_out import needs_times
from jobs.ratings.prepare import clean_and_index
from jobs.settings.clean import CleanConfig
from jobs.settings.config import SparkConfig
from jobs.settings.evaluate import EvaluateConfig
from jobs.settings.input import InputConfig
from jobs.settings.train import TrainConfig
from recsys_core.evaluation.splits import TimedRatings

logger = logging.getLogger(__name__)


def bring_ratings(
    spark: SparkSession,
    source: InputConfig,
    clean: CleanConfig,
    evaluate: EvaluateConfig,
    train: TrainConfig,
    cluster: SparkConfig,
) -> TimedRatings:
    """Read, clean and index the ratings, and bring them to the driver, as a night does.

    Their times come along where ``evaluate.split`` goes by them, whether or not
    ``evaluate.enabled`` is set.

    Raises:
        InputError: as a night.
    """
    read = read_ratings(spark, source, clean)
    keep_times = needs_times(evaluate, has_timestamp=read.has_timestamp)
    n_partitions = choose_partitions(spark, cluster, read.bytes)
    indexed = clean_and_index(read.rows, n_partitions, clean, keep_times=keep_times).indexed
    ratings = collect_ratings(
        indexed.frame, len(indexed.index), max_users=train.max_users, seed=train.seed
    )
    logger.info(
        "%s ratings by %s users of %s items",
        f"{ratings.matrix.nnz:,}",
        *(f"{n:,}" for n in ratings.matrix.shape),
    )
    spark.catalog.clearCache()
    return ratings
