"""The table that follows the current run, in Spark's embedded metastore."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from builders import checkerboard, make_config, write_csv
from pyspark.sql import SparkSession

from jobs.errors import ConfigError
from jobs.night.night import run_nightly
from jobs.runs.metastore import check_table, move_table
from jobs.storage.local import LocalStorage

TABLE = "reco.recommendations"


@pytest.fixture(scope="module")
def database(spark: SparkSession) -> Iterator[SparkSession]:
    spark.sql("CREATE DATABASE reco")
    yield spark
    spark.sql("DROP DATABASE reco CASCADE")


def locate(spark: SparkSession) -> str:
    rows = spark.sql(f"DESCRIBE TABLE EXTENDED {TABLE}").collect()
    return next(str(row["data_type"]) for row in rows if row["col_name"] == "Location")


def test_the_table_moves_with_current_and_keeps_no_files(
    database: SparkSession, tmp_path: Path
) -> None:
    spark, output = database, tmp_path / "it's 100% é"
    ratings = write_csv(tmp_path / "r.csv", checkerboard())

    def night(k: int) -> str:
        config = make_config(
            ratings,
            output,
            train={"nmf": {"n_components": 2}},
            cluster={"n_clusters": 2},
            score={"k": k},
            publish={"table": TABLE},
        )
        return run_nightly(spark, config, date(2026, 11, 21)).run.run_id

    first = night(2)
    assert len(pd.read_parquet(output / "current" / "recommendations")) == 12 * 2
    assert spark.table(TABLE).count() == 12 * 2
    assert spark.table(TABLE).columns == ["user_id", "rank", "item_id", "score", "source"]
    second = night(1)
    assert spark.table(TABLE).count() == 12
    assert f"/runs/{second}/recommendations" in locate(spark)
    # Back again, as `rollback` does.
    move_table(spark, TABLE, LocalStorage(output).uri(f"runs/{first}/recommendations"))
    assert spark.table(TABLE).count() == 12 * 2
    spark.sql(f"DROP TABLE {TABLE}")
    assert (output / "current" / "recommendations").is_dir()  # the table owned nothing


def test_a_table_that_cannot_follow_is_told_before_the_work(database: SparkSession) -> None:
    check_table(database, TABLE)  # not there yet: it will be made
    with pytest.raises(ConfigError, match="no database 'elsewhere'"):
        check_table(database, "elsewhere.recommendations")
    database.sql("CREATE TABLE reco.managed (user_id bigint) USING parquet")
    with pytest.raises(ConfigError, match="type MANAGED and provider parquet"):
        check_table(database, "reco.managed")
