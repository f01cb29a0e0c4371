import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.audit import audit_recommendations, audit_rows
from jobs.errors import AuditError

Row = tuple[int, int, int, float]
GOOD: list[Row] = [(1, 1, 30, 0.9), (1, 2, 40, 0.5), (2, 1, 40, 0.7), (2, 2, 50, 0.7)]
ITEM_IDS = np.array([10, 20, 30, 40, 50])
RATED = [(1, [0, 1]), (2, [0]), (3, [0, 1, 2]), (3, [3, 4])]  # user 3 in two pieces


def lists(spark: SparkSession, rows: list[Row]) -> DataFrame:
    return spark.createDataFrame(rows, "user_id bigint, rank int, item_id bigint, score float")


def ratings(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(RATED, "user_id bigint, item_index array<int>")


def test_a_good_run_is_counted(spark: SparkSession) -> None:
    audit = audit_recommendations(lists(spark, GOOD), ratings(spark), ITEM_IDS, k=2, n_partitions=2)
    assert audit.rows == 4
    assert audit.users == 2
    assert audit.users_without_list == 1  # user 3 has rated everything
    assert audit.users_with_short_list == 1
    assert audit.distinct_items == 3


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
    ],
)
def test_each_broken_promise_is_found(spark: SparkSession, rows: list[Row], problem: str) -> None:
    with pytest.raises(AuditError, match=problem):
        audit_recommendations(lists(spark, rows), ratings(spark), ITEM_IDS, k=2, n_partitions=2)


def test_a_table_with_other_rows_is_refused(spark: SparkSession) -> None:
    frame = lists(spark, GOOD)
    assert audit_rows("item_clusters", frame, 4) == 4
    with pytest.raises(AuditError, match="item_clusters holds 4 rows, expected 5"):
        audit_rows("item_clusters", frame, 5)
