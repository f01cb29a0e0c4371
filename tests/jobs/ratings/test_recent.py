"""Which users' ratings are kept while the input is read, which of them, and in which order."""

import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from jobs.ratings import gather, recent, user_rows
from jobs.ratings.gather import account_rows
from jobs.ratings.recent import LowestChecksums, collect_candidates, list_recent

ITEMS = pd.DataFrame({"item_id": ["a", "i10"], "title": ["Alien (1979)", "Ten"]}).astype(object)
ROWS = [
    # Of a repeated rating the latest counts, though an earlier one is higher; then the highest.
    ("timed", "a", 5.0, 100, None),
    ("timed", "a", 2.0, 500, None),
    ("timed", "a", 1.0, 500, None),
    ("timed", "z", 5.0, 900, "rating outside 0 to 4"),
    ("timed", "without a time", 4.5, None, None),
    *(("timed", f"i{n}", 3.0, 400, None) for n in (12, 10, 11)),
    ("mixed", "late", 1.0, 2**60 + 1, None),
    ("mixed", "low", 2.0, None, None),
    ("mixed", "high", 3.0, None, None),
    *(("untimed", f"i{n:02d}", n % 3 + 0.5, None, None) for n in range(14)),
    ("untimed", "i13", 4.0, None, None),
    ("refused", "a", 1.0, 1, "empty rating"),
    ("another", "a", 1.0, 1, None),
]


@pytest.mark.parametrize("n_candidates", [1_000, 3, 0])
def test_the_latest_then_the_highest_then_by_item(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, n_candidates: int
) -> None:
    """The same from what was kept, from a second look at the input, and from both."""
    monkeypatch.setattr(recent, "N_CANDIDATES", n_candidates)
    columns = "user_id string, item_id string, rating double, timestamp bigint, reason string"
    frame = spark.createDataFrame(
        [(*row, None, None) for row in ROWS], f"{columns}, raw string, file string"
    )
    gathered = account_rows(frame, 2, keep_recent=True).frame
    candidates = collect_candidates(gathered)
    gathered.unpersist()
    assert len(candidates) == min(n_candidates, 5)
    found = list_recent(["untimed", "timed", "mixed", "refused"], candidates, frame, ITEMS)
    assert [*found.columns] == ["user_id", "place", "item_id", "title", "rating", "timestamp"]
    rows = [*found.itertuples(index=False, name=None)]
    assert rows[:8] == [
        ("mixed", 1, "late", None, 1.0, 2**60 + 1),  # to the second
        ("mixed", 2, "high", None, 3.0, None),
        ("mixed", 3, "low", None, 2.0, None),
        ("timed", 1, "a", "Alien (1979)", 2.0, 500),
        ("timed", 2, "i10", "Ten", 3.0, 400),
        ("timed", 3, "i11", None, 3.0, 400),
        ("timed", 4, "i12", None, 3.0, 400),
        ("timed", 5, "without a time", None, 4.5, None),
    ]
    assert {row[0] for row in rows[8:]} == {"untimed"}
    assert [row[2] for row in rows[8:]] == [
        *("i13", "i02", "i05", "i08", "i11"),
        *("i01", "i04", "i07", "i10", "i00"),
    ]


def test_the_lowest_checksums_are_kept_and_few_others() -> None:
    users = np.random.default_rng(0).permutation(50_000)
    sample = LowestChecksums(100)
    kept = np.concatenate([sample.add(pa.array(block)) for block in np.split(users, 50)])
    lowest = sorted(users.tolist(), key=lambda user: zlib.crc32(str(user).encode()))[:100]
    assert set(lowest) <= set(users[kept].tolist())
    assert kept.sum() < 2_000  # all 1,000 of the first block, then ever fewer


def test_what_is_kept_of_whole_blocks_is_what_pandas_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """With users in several pieces and blocks, of whom not all are kept."""
    monkeypatch.setattr(user_rows, "PIECE", 7)
    monkeypatch.setattr(gather, "N_CANDIDATES", 150)
    rng = np.random.default_rng(5)
    n = 150_000
    rows = pd.DataFrame({"user_id": np.sort(rng.integers(0, 2_000, n))})
    rows["item_id"], rows["rating"] = rng.integers(0, 400, n), rng.integers(1, 11, n) / 2
    rows["timestamp"] = pd.Series(rng.integers(0, 50, n)).where(rng.random(n) < 0.1).astype("Int64")
    columns = {name: pa.array(rows[name]) for name in rows.columns}
    nothing = {name: pa.nulls(n, pa.string()) for name in ("reason", "raw", "file")}
    batches = pa.Table.from_pydict(columns | nothing).to_batches(max_chunksize=9_000)
    blocks = [*gather._gather_users(iter(batches), keep_times=False, keep_recent=True)]
    kept = pa.Table.from_batches(blocks).filter(pc.is_valid(pc.field("recent")))
    assert len(blocks) > 1
    assert 150 <= len(kept) == len(kept["user_id"].unique()) < 1_000
    assert set(kept["piece"].to_pylist()) == {0}
    found = recent._flatten(kept.select(["user_id", "recent"])).to_pandas()
    time = rows["timestamp"].astype(float).fillna(-1)
    rows = rows.assign(time=time, worth=rows["rating"].where(time < 0, 0.0))
    rows = rows.sort_values(["time", "rating"]).drop_duplicates(["user_id", "item_id"], keep="last")
    order = ["user_id", "time", "worth", "item_id"]
    rows = rows.sort_values(order, ascending=[True, False, False, True])
    rows["place"] = rows.groupby("user_id").cumcount() + 1
    expected = rows[(rows["place"] <= 10) & rows["user_id"].isin(kept["user_id"].to_pylist())]
    columns_of_both = ["user_id", "place", "item_id", "rating", "timestamp"]
    pd.testing.assert_frame_equal(
        found[columns_of_both],
        expected[columns_of_both].reset_index(drop=True),
        check_dtype=False,
    )
