"""How a published table lies in its files: what one user's list costs a reader."""

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.parquet as pq
from nights import SampleNight
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.runs.run import Run
from jobs.runs.staged import StagedRun
from jobs.storage.local import LocalStorage
from jobs.tables.published import RECOMMENDATIONS

N_USERS, N_FILES = 150_000, 2


def test_rows_of_a_user_are_together_and_users_in_order(sample_night: SampleNight) -> None:
    files = list((sample_night.output / "current" / "recommendations").glob("*.parquet"))
    assert files
    for file in files:
        rows = pq.read_table(file, columns=["user_id", "rank"]).to_pandas()
        pairs = list(rows.itertuples(index=False, name=None))
        assert pairs == sorted(pairs)


def test_one_users_list_is_read_from_a_small_part_of_the_bytes(
    spark: SparkSession, tmp_path: Path
) -> None:
    users = spark.range(N_USERS).repartition(N_FILES, "id").sortWithinPartitions("id")
    ranks = F.explode(F.array(*(F.lit(rank) for rank in range(1, 11)))).alias("rank")
    lists = users.select(F.col("id").alias("user_id"), ranks).select(
        "user_id",
        "rank",
        (F.rand(1) * 20_000).cast("bigint").alias("item_id"),
        F.rand(2).alias("score"),
        F.lit("model").alias("source"),
    )
    staged = StagedRun(LocalStorage(tmp_path), Run.start(date(2026, 11, 21), datetime.now(UTC)))
    staged.write_table(RECOMMENDATIONS, lists)
    total = touched = 0
    directory = Path(staged.table_uri(RECOMMENDATIONS).removeprefix("file:"))
    for file in directory.glob("*.parquet"):
        metadata = pq.read_metadata(file)
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            assert group.column(0).compression == "ZSTD"
            size = sum(group.column(at).total_compressed_size for at in range(group.num_columns))
            users_of = group.column(0).statistics
            total += size
            touched += size if users_of.min <= N_USERS // 3 <= users_of.max else 0
    assert 0 < touched < 0.25 * total
