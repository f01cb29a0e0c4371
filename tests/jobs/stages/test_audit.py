from dataclasses import dataclass

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.errors import AuditError
from jobs.stages.audit.excluded import audit_excluded
from jobs.stages.audit.recommendations import RecommendationsAudit, audit_recommendations
from jobs.stages.audit.tables import audit_rows

Row = tuple[int, int, int, float]
GOOD: list[Row] = [(1, 1, 30, 0.9), (1, 2, 40, 0.5), (2, 1, 40, 0.7), (2, 2, 50, 0.7)]
ITEM_IDS = np.array([10, 20, 30, 40, 50])
RATED = [(1, [0, 1]), (2, [0]), (3, [0, 1, 2]), (3, [3, 4])]  # user 3 in two pieces


def lists(spark: SparkSession, rows: list[Row], source: str = "model") -> DataFrame:
    schema = "user_id bigint, rank int, item_id bigint, score float"
    return spark.createDataFrame(rows, schema).withColumn("source", F.lit(source))


def ratings(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(RATED, "user_id bigint, item_index array<int>")


def test_a_good_run_is_counted(spark: SparkSession) -> None:
    audit = audit_recommendations(lists(spark, GOOD), ratings(spark), ITEM_IDS, k=2, n_partitions=2)
    assert audit.rows == 4
    assert audit.users == 2
    assert audit.users_without_list == 1  # user 3 has rated everything
    assert audit.users_with_short_list == 1
    assert audit.distinct_items == 3
    assert audit.top_item_lists == 2  # item 40
    assert (audit.min_score, audit.max_score) == pytest.approx((0.5, 0.9))
    assert audit.source_users == {"model": 2}


def test_the_hash_is_of_the_rows_whatever_their_order(spark: SparkSession) -> None:
    def hash_of(rows: list[Row], source: str = "model") -> str:
        written = lists(spark, rows, source)
        return audit_recommendations(
            written, ratings(spark), ITEM_IDS, k=2, n_partitions=2
        ).content_hash

    assert hash_of(GOOD) == hash_of(GOOD[::-1])
    changed = [hash_of([*GOOD[:3], (2, 2, 50, 0.6)]), hash_of(GOOD, "popularity")]
    assert len({hash_of(GOOD), *changed}) == 3
    # As in the manifests of earlier runs: the rows' hashes, added up in 64 bits.
    frame = lists(spark, GOOD)
    hashes = frame.select(F.xxhash64(*frame.columns)).collect()
    assert int(hash_of(GOOD), 16) == sum(row[0] for row in hashes) % 2**64


def test_lists_of_users_without_ratings_are_held_to_their_promise(spark: SparkSession) -> None:
    left_out = spark.createDataFrame([(8, [2]), (9, [])], "user_id bigint, item_index array<int>")
    popular: list[Row] = [(8, 1, 10, 5.0), (8, 2, 20, 4.0), (9, 1, 30, 6.0), (9, 2, 10, 5.0)]

    def audit(popular: list[Row]) -> RecommendationsAudit:
        written = lists(spark, GOOD).unionAll(lists(spark, popular, "popularity"))
        return audit_recommendations(
            written, ratings(spark), ITEM_IDS, k=2, n_partitions=2, left_out=left_out
        )

    found = audit(popular)
    assert found.source_users == {"model": 2, "popularity": 2}
    assert found.max_score == pytest.approx(0.9)  # of the model
    with pytest.raises(AuditError, match="1 recommended items the user has rated"):
        audit([(8, 1, 30, 6.0), *popular[1:]])
    with pytest.raises(AuditError, match="1 users missing"):
        audit(popular[:2])


@dataclass(frozen=True)
class Step:
    rows: int
    users: int
    items: int


def test_what_was_left_out_reconciles_with_the_input(spark: SparkSession) -> None:
    table = [("user", "7", 1), ("item", "70", 1), ("item", "80", 0), ("rows", None, 5)]
    excluded = spark.createDataFrame(table, "kind string, id string, rating_count bigint")
    counts = audit_excluded(excluded, (Step(100, 10, 20), Step(95, 9, 18)))
    assert counts == {"rows": 5, "user": 1, "item": 2}
    for came in (Step(101, 10, 20), Step(100, 11, 20), Step(100, 10, 19)):
        with pytest.raises(AuditError, match="excluded does not reconcile"):
            audit_excluded(excluded, (came, Step(95, 9, 18)))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([*GOOD[:3], (2, 3, 50, 0.7)], "1 users whose ranks are not 1..n"),
        ([*GOOD[:3], (2, 1, 50, 0.7)], "1 users whose ranks are not 1..n"),
        ([*GOOD[:3], (2, 2, 40, 0.7)], "1 users with an item twice"),
        ([*GOOD[:3], (2, 2, 10, 0.7)], "1 recommended items the user has rated"),
        ([*GOOD[:3], (2, 2, 50, 0.8)], "1 users whose scores rise with the rank"),
        ([*GOOD[:3], (2, 2, 50, float("nan"))], "1 scores that are null or not finite"),
        ([*GOOD[:3], (2, 2, 50, float("-inf"))], "1 scores that are null or not finite"),
        (GOOD[:3], "1 rows missing"),
        ([*GOOD, (2, 3, 20, 0.1)], "1 rows too many"),
        (GOOD[:2], "1 users missing"),
        ([*GOOD, (3, 1, 60, 0.1)], "1 users too many"),
        ([*GOOD, (3, 1, 60, 0.1)], "1 rows of an item that is not in the index"),
        ([*GOOD, (3, 1, 50, 0.1)], "1 recommended items the user has rated"),
        ([*GOOD[:2], (4, 1, 40, 0.7), (4, 2, 50, 0.7)], "1 lists of users without a rating"),
    ],
)
def test_each_broken_promise_is_found(spark: SparkSession, rows: list[Row], problem: str) -> None:
    with pytest.raises(AuditError, match=problem):
        audit_recommendations(lists(spark, rows), ratings(spark), ITEM_IDS, k=2, n_partitions=2)


def test_rows_of_another_source_are_refused(spark: SparkSession) -> None:
    unknown = lists(spark, GOOD[:2]).unionAll(lists(spark, GOOD[2:], "manual"))
    nobody = lists(spark, GOOD[:3]).unionAll(
        lists(spark, GOOD[3:]).withColumn("source", F.lit(None))
    )
    for frame, n_rows in ((unknown, 2), (nobody, 1)):
        with pytest.raises(AuditError, match=f"{n_rows} rows from neither model nor popularity"):
            audit_recommendations(frame, ratings(spark), ITEM_IDS, k=2, n_partitions=2)


def test_a_table_with_other_rows_is_refused(spark: SparkSession) -> None:
    frame = lists(spark, GOOD)
    assert audit_rows("item_clusters", frame, 4) == 4
    with pytest.raises(AuditError, match="item_clusters holds 4 rows, expected 5"):
        audit_rows("item_clusters", frame, 5)
