"""Whose latest ratings are kept while the input is read, and which of them."""

import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.ratings import gather, user_rows
from jobs.ratings.recent import LowestChecksums
from jobs.stages.recent_ratings import _flatten


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
    rng = np.random.default_rng(5)
    n = 150_000
    rows = pd.DataFrame({"user_id": np.sort(rng.integers(0, 2_000, n))})
    rows["item_id"], rows["rating"] = rng.integers(0, 400, n), rng.integers(1, 11, n) / 2
    rows["timestamp"] = pd.Series(rng.integers(0, 50, n)).where(rng.random(n) < 0.1).astype("Int64")
    columns = {name: pa.array(rows[name]) for name in rows.columns}
    nothing = {name: pa.nulls(n, pa.string()) for name in ("reason", "raw", "file")}
    batches = pa.Table.from_pydict(columns | nothing).to_batches(max_chunksize=9_000)
    blocks = [*gather._gather_partition(iter(batches), keep_times=False, n_recent=150)]
    kept = pa.Table.from_batches(blocks).filter(pc.is_valid(pc.field("recent")))
    assert len(blocks) > 1
    assert 150 <= len(kept) == len(kept["user_id"].unique()) < 1_000
    assert set(kept["piece"].to_pylist()) == {0}
    found = _flatten(kept.select(["user_id", "recent"])).to_pandas()
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
