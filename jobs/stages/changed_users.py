"""Score only those whose ratings have changed, and keep the lists of all others.

A run says in ``SCORED_USERS`` from which ratings it made each list of the model. Against the same
of tonight's ratings, a user is unchanged, changed, new or gone. Lists of unchanged users are taken
from that run; nobody else's are. The ratings themselves do not move: who differs is broadcast.
"""

import logging
from dataclasses import dataclass
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.tables.columns import ITEM_INDEX, PIECE_NUMBER, RANK, RATING, SOURCE, USER_ID
from jobs.tables.published import RECOMMENDATIONS

logger = logging.getLogger(__name__)

_COUNT, _HASH = "rating_count", "ratings_hash"
_IS_NOW, _WAS_BEFORE = "is_now", "was_before"
_MOST_DIFFERENT = 0.5
"""Share of the users; where more differ, to keep the others saves less than it costs, and the ids
that are broadcast would grow without bound."""


@dataclass(frozen=True)
class ScoringWork:
    """Whom to score, and what to keep."""

    ratings: DataFrame
    """``IndexedRatings.frame``, of those users alone."""
    kept: DataFrame | None
    """The columns of ``RECOMMENDATIONS`` of all others; None where there are none."""
    n_scored: int
    n_kept: int
    n_partitions: int

    def add_kept(self, lists: DataFrame) -> DataFrame:
        """The lists of everyone, a user's rows together and users in order, as in a full night."""
        if self.kept is None:
            return lists
        columns = [column.name for column in RECOMMENDATIONS.columns]
        everyone = lists.select(*columns).unionAll(self.kept.select(*columns))
        return _partition(everyone, self.n_partitions).sortWithinPartitions(USER_ID, RANK)

    def describe(self, run_id: str) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "reused_from": run_id,
            "scored_users": self.n_scored,
            "kept_users": self.n_kept,
        }


def hash_ratings(ratings: DataFrame, n_partitions: int) -> DataFrame:
    """The columns of ``SCORED_USERS``, partitioned by user and in order.

    The hash is over the items' numbers in the model, which ids do not add to: it is compared only
    with hashes of the same model.

    Args:
        ratings: ``IndexedRatings.frame``; its lists are in order of item.
    """
    pieces = ratings.select(
        USER_ID,
        F.size(ITEM_INDEX).cast("bigint").alias(_COUNT),
        F.xxhash64(PIECE_NUMBER, ITEM_INDEX, RATING).alias(_HASH),
    )
    # Three numbers of a piece cross the network. Spark's 200 partitions would be 200 small tasks.
    users = _partition(pieces, n_partitions).groupBy(USER_ID)
    # Exclusive or knows no order: each piece has its number in its hash.
    counted = users.agg(F.sum(_COUNT).alias(_COUNT), F.bit_xor(_HASH).alias(_HASH))
    return counted.sortWithinPartitions(USER_ID)


def _partition(users: DataFrame, n_partitions: int) -> DataFrame:
    return users.repartition(n_partitions, USER_ID)


def score_everyone(ratings: DataFrame, n_users: int, n_partitions: int) -> ScoringWork:
    """The work of a full night."""
    return ScoringWork(ratings, None, n_users, 0, n_partitions)


def split_work(
    ratings: DataFrame,
    now: DataFrame,
    before: DataFrame,
    lists: DataFrame,
    *,
    n_users: int,
    n_partitions: int,
) -> ScoringWork:
    """Leave out of the scoring whose ratings are as they were.

    Args:
        ratings: ``IndexedRatings.frame``.
        now: ``hash_ratings`` of it, into as many partitions.
        before: ``SCORED_USERS`` of the run whose model is used.
        lists: ``RECOMMENDATIONS`` of that run.
        n_users: users of ``ratings``.
    """
    differing = _find_differing(now, _partition(before, n_partitions))
    differing.persist(StorageLevel.MEMORY_AND_DISK)
    counts = differing.agg(F.count("*"), F.count(F.when(F.col(_IS_NOW), True))).collect()[0]
    n_differing, n_changed = (int(count) for count in counts)
    if n_differing > _MOST_DIFFERENT * n_users:
        logger.info(
            "everyone is scored anew: %s users have changed or gone, too many for %s",
            *(f"{count:,}" for count in (n_differing, n_users)),
        )
        return score_everyone(ratings, n_users, n_partitions)
    logger.info(
        "%s users are new or changed and scored, %s keep their lists",
        *(f"{count:,}" for count in (n_changed, n_users - n_changed)),
    )
    changed, outdated = (
        F.broadcast(differing.where(F.col(side)).select(USER_ID)) for side in (_IS_NOW, _WAS_BEFORE)
    )
    # Users of the popular list are listed anew by the night: its counts change.
    by_model = lists.where(F.col(SOURCE) == "model")
    return ScoringWork(
        ratings.join(changed, USER_ID, how="left_semi"),
        by_model.join(outdated, USER_ID, how="left_anti"),
        n_changed,
        n_users - n_changed,
        n_partitions,
    )


def _find_differing(now: DataFrame, before: DataFrame) -> DataFrame:
    """user_id, is_now, was_before of the users who are not the same on both sides."""
    earlier = before.select(
        USER_ID, F.col(_COUNT).alias("count_before"), F.col(_HASH).alias("hash_before")
    )
    same = (F.col(_HASH) == F.col("hash_before")) & (F.col(_COUNT) == F.col("count_before"))
    return (
        now.join(earlier, USER_ID, how="full_outer")
        .where(~F.coalesce(same, F.lit(False)))
        .select(
            USER_ID,
            F.col(_HASH).isNotNull().alias(_IS_NOW),
            F.col("hash_before").isNotNull().alias(_WAS_BEFORE),
        )
    )
