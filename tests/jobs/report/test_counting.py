"""A run counted by Spark and from its files, whole and in parts."""

import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from nights import SampleNight
from pyspark.sql import SparkSession

from jobs.report.counting import aggregations
from jobs.report.counting.aggregations import (
    EXCLUDED_BY_REASON,
    LISTS_BY_ITEM,
    Aggregation,
    aggregate,
    count_places,
    merge_parts,
    pick_users,
)
from jobs.report.counting.count_run import RunTables, count_run, sample_users
from jobs.report.counting.counts import ListCounts, UserCounts
from jobs.report.counting.file_tables import FileTables
from jobs.report.counting.spark_tables import SparkTables
from jobs.report.read_run import count_files
from jobs.report.statistics.lists import score_range
from jobs.tables.published import EXCLUDED, RECENT_RATINGS, RECOMMENDATIONS, Table


def test_spark_and_files_count_the_same(
    spark: SparkSession, sample_night: SampleNight, tmp_path: Path
) -> None:
    """With a run before that has other users, other items, and ids of another type."""
    current = sample_night.output / "current"
    lists = pd.read_parquet(current / "recommendations")
    lists.loc[lists["user_id"] % 3 == 0, "source"] = "popularity"
    earlier = lists[lists["user_id"] > 40].assign(
        user_id=lambda rows: (rows["user_id"] + 20).astype(str),
        item_id=lambda rows: (rows["item_id"] * 2).astype(str),
    )
    excluded = pd.DataFrame(
        {
            "kind": ["user", "user", "rows"],
            "id": ["7", "8", None],
            "reason": ["why", "why", "because"],
            "rating_count": [3, 4, 5],
        }
    )
    recent = pd.read_parquet(current / "recent_ratings")
    recent["timestamp"] = recent["timestamp"].where(recent["place"] < 3)
    recent["title"] = recent["title"].where(recent["place"] != 2)
    now, before = tmp_path / "now", tmp_path / "before"
    for place, tables in (
        (now, {"recommendations": lists, "excluded": excluded, "recent_ratings": recent}),
        (before, {"recommendations": earlier}),
    ):
        for name, rows in tables.items():
            (place / name).mkdir(parents=True)
            rows.to_parquet(place / name / "part.parquet")
    limits = score_range(sample_night.manifest)

    def open_frames(run: Path, *tables: Table) -> SparkTables:
        return SparkTables({table: spark.read.parquet(str(run / table.name)) for table in tables})

    def count(tables: RunTables, tables_before: RunTables) -> ListCounts:
        users = sample_users(tables, 50)
        return count_run(tables, tables_before, limits=limits, users=users)

    by_files = count(FileTables(now), FileTables(before))
    by_spark = count(
        open_frames(now, RECOMMENDATIONS, EXCLUDED, RECENT_RATINGS),
        open_frames(before, RECOMMENDATIONS),
    )
    assert by_files.sample["user_id"].nunique() == 50
    assert by_files.recent is not None
    assert by_files.recent["timed"].sum() == 2 * 120
    for name in ("items", "places", "excluded", "sample", "recent"):
        pd.testing.assert_frame_equal(
            getattr(by_spark, name), getattr(by_files, name), check_dtype=False, obj=name
        )
    assert by_spark.users == by_files.users == UserCounts(now=120, before=80, both=60)
    assert by_files.places["rows"].sum() == len(lists)
    assert set(by_files.places["score_bin"]) <= {*range(-1, 40)}
    assert by_files.items["lists"].sum() == len(lists)
    assert by_files.items["lists_before"].sum() == len(earlier)
    shutil.rmtree(now / "recent_ratings")  # as a release before it left its runs
    assert count_files(now, before, limits=limits).recent is None


def draw_lists(n_rows: int = 3_000) -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "user_id": rng.integers(0, 400, n_rows),
            "rank": pa.array(rng.integers(1, 4, n_rows), pa.int32()),
            "item_id": rng.integers(0, 50, n_rows),
            "source": rng.choice(["model", "popularity"], n_rows),
            "score": pa.array(rng.random(n_rows), pa.float32()),
            "kind": rng.choice(["user", "rows"], n_rows),
            "reason": rng.choice(["few", "many"], n_rows),
            "rating_count": rng.integers(0, 9, n_rows),
        }
    )


@pytest.mark.parametrize(
    "aggregation",
    [LISTS_BY_ITEM, EXCLUDED_BY_REASON, count_places((0.0, 1.0)), pick_users(30)],
    ids=["items", "excluded", "places", "users"],
)
def test_counts_are_the_same_in_whatever_parts(
    monkeypatch: pytest.MonkeyPatch, aggregation: Aggregation
) -> None:
    rows = draw_lists()

    def count(n_parts: int) -> list[tuple[Any, ...]]:
        """In parts of several batches each, which are merged last."""
        size = len(rows) // n_parts
        parts = [
            aggregate(rows.slice(part * size, size).to_batches(max_chunksize=70), aggregation)
            for part in range(n_parts)
        ]
        assert {part.schema for part in parts} == {aggregation.schema}
        merged = merge_parts(parts, aggregation).to_pylist()
        return sorted(tuple(row.values()) for row in merged)

    whole = count(1)
    assert len(whole) > 1
    assert count(3) == count(15) == whole
    monkeypatch.setattr(aggregations, "_MANY_ROWS", 100)  # merged many times on the way
    assert count(3) == whole
    assert aggregate([], aggregation).to_pylist() == []


def test_counts_are_those_of_pandas() -> None:
    rows = draw_lists()
    frame = rows.to_pandas()
    batches = rows.to_batches(max_chunksize=1_000)
    items = aggregate(batches, LISTS_BY_ITEM).to_pandas().set_index("item_id")["lists"]
    assert items.to_dict() == frame["item_id"].astype(str).value_counts().to_dict()
    excluded = aggregate(batches, EXCLUDED_BY_REASON).to_pandas().set_index(["kind", "reason"])
    by_reason = frame.groupby(["kind", "reason"])["rating_count"]
    assert excluded["entries"].to_dict() == by_reason.size().to_dict()
    assert excluded["ratings"].to_dict() == by_reason.sum().to_dict()
    users = frame.loc[frame["rank"] == 1, "user_id"].astype(str)
    lowest = sorted(users, key=lambda user: (zlib.crc32(user.encode()), user))[:30]
    assert aggregate(batches, pick_users(30))["user_id"].to_pylist() == lowest


def test_scores_fall_into_bins_of_equal_width() -> None:
    """The highest is in the last bin; one score alone, or none of the model, makes no bins."""
    lists = pa.table(
        {
            "source": ["model"] * 4 + ["popularity"],
            "rank": pa.array([1] * 5, pa.int32()),
            "score": pa.array([-1.0, 0.0, 0.99, 1.0, 900.0], pa.float32()),
        }
    )
    for limits, expected in (
        ((-1.0, 1.0), [-1, 0, 20, 39, 39]),
        ((1.0, 1.0), [-1, 0, 0, 0, 0]),
        (None, [-1] * 5),
    ):
        counted = aggregate(lists.to_batches(), count_places(limits)).to_pylist()
        bins = [place for row in counted for place in [row["score_bin"]] * row["rows"]]
        assert sorted(bins) == expected
