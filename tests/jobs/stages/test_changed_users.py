"""Whose ratings are as they were: hashes of users, however their rows are cut and ordered."""

from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.stages import changed_users
from jobs.stages.changed_users import hash_ratings, split_work

Rows = list[tuple[int, int, list[int], list[float]]]
RATINGS: Rows = [
    (1, 0, [0, 4], [5.0, 3.5]),
    (2, 0, [0, 1, 2], [4.0, 4.0, 1.0]),
    (2, 1, [3, 9], [2.0, 2.5]),  # of more than one piece
    (3, 0, [7], [1.0]),
]


def frame(spark: SparkSession, rows: Rows) -> DataFrame:
    return spark.createDataFrame(
        rows, "user_id bigint, piece int, item_index array<int>, rating array<float>"
    )


def test_a_hash_is_of_all_ratings_of_a_user_and_of_nothing_else(spark: SparkSession) -> None:
    like_2: dict[int, list[tuple[list[int], list[float]]]] = {
        12: [([0, 1, 2], [4.0, 4.0, 1.0]), ([3, 9], [2.0, 2.5])],  # the same
        21: [([0, 1, 2], [4.0, 4.0, 1.0]), ([3, 9], [2.0, 3.0])],  # another rating, in piece 1
        22: [([0, 1, 2], [4.0, 1.0, 4.0]), ([3, 9], [2.0, 2.5])],  # exchanged ratings
        23: [([0, 1, 4], [4.0, 4.0, 1.0]), ([3, 9], [2.0, 2.5])],  # another item
        24: [([3, 9], [2.0, 2.5]), ([0, 1, 2], [4.0, 4.0, 1.0])],  # exchanged pieces
        25: [([0, 1, 2], [4.0, 4.0, 1.0])],  # the first piece alone
    }
    others = [
        (user, number, *piece)
        for user, pieces in like_2.items()
        for number, piece in enumerate(pieces)
    ]
    users = hash_ratings(frame(spark, [*RATINGS, *others[::-1]]), 2).collect()  # rows in any order
    counts = {row["user_id"]: row["rating_count"] for row in users}
    assert counts == {1: 2, 2: 5, 3: 1, 12: 5, 21: 5, 22: 5, 23: 5, 24: 5, 25: 3}
    found = {row["user_id"]: row["ratings_hash"] for row in users}
    assert found[12] == found[2]
    assert len({*found.values()}) == len(found) - 1


@pytest.mark.parametrize(("most", "scored"), [(1.0, [2, 4]), (0.9, [1, 2, 4])])
def test_the_work_is_split_by_user(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, most: float, scored: list[int]
) -> None:
    monkeypatch.setattr(changed_users, "_MOST_DIFFERENT", most)
    before = hash_ratings(frame(spark, RATINGS), 1)
    now = frame(spark, [RATINGS[0], RATINGS[1], (2, 1, [3], [2.0]), (4, 0, [1], [1.0])])
    lists = spark.createDataFrame(
        [(user, 1, 8, 0.5, source) for user, source in [(1, "model"), (2, "model"), (3, "model")]]
        + [(5, 1, 8, 9.0, "popularity")],
        "user_id bigint, rank int, item_id bigint, score float, source string",
    )
    # Of three users two differ, and one is gone.
    work = split_work(now, hash_ratings(now, 1), before, lists, n_users=3, n_partitions=1)
    pieces: list[Any] = [(row["user_id"], row["piece"]) for row in work.ratings.collect()]
    assert sorted({user for user, _ in pieces}) == scored
    assert [piece for user, piece in pieces if user == 2] == [0, 1]
    assert (work.n_scored, work.n_kept) == (len(scored), 3 - len(scored))
    kept = [] if work.kept is None else [row["user_id"] for row in work.kept.collect()]
    assert kept == [1] * work.n_kept
    spark.catalog.clearCache()
