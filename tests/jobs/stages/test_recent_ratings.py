"""The latest ratings of the report's users: which, in which order, and from where."""

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from jobs.ratings.gather import account_rows
from jobs.ratings.recent import collect_candidates
from jobs.stages.recent_ratings import list_recent

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
def test_the_latest_then_the_highest_then_by_item(spark: SparkSession, n_candidates: int) -> None:
    """The same from what was kept, from a second look at the input, and from both."""
    columns = "user_id string, item_id string, rating double, timestamp bigint, reason string"
    frame = spark.createDataFrame(
        [(*row, None, None) for row in ROWS], f"{columns}, raw string, file string"
    )
    gathered = account_rows(frame, 2, n_recent=1_000).frame
    candidates = collect_candidates(gathered, n_candidates)
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
