"""Fixtures for every test: the one Spark session, and where the real ratings are."""

import os
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nights import SampleNight
from paths import CONF, ROOT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_DEFAULT_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The directory of ml-latest-small and goodbooks-10k; skips where it is not there."""
    directory = Path(os.environ.get("RECSYS_DATA", _DEFAULT_DATA)).absolute()
    if not (directory / "ml-latest-small" / "ratings.csv").is_file():
        pytest.skip(f"no real ratings in {directory}; set RECSYS_DATA to their directory")
    return directory


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SparkSession]":
    """A small pinned session, made as the job makes its own; with a metastore of its own."""
    from pyspark.sql import SparkSession

    from jobs.machine.session import open_session
    from jobs.settings.config import SparkConfig

    # Workers take the first python3 on PATH otherwise, also when pytest is called directly.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    metastore = tmp_path_factory.mktemp("metastore")
    SparkSession.builder.config(
        map={
            "spark.sql.catalogImplementation": "hive",
            "spark.sql.warehouse.dir": str(metastore / "warehouse"),
            "spark.hadoop.javax.jdo.option.ConnectionURL": (
                f"jdbc:derby:;databaseName={metastore}/db;create=true"
            ),
            "spark.driver.extraJavaOptions": f"-Dderby.system.home={metastore}",
            "spark.master": "local[2]",
            "spark.driver.memory": "2g",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "2",
            # As in conf/, which pytest does not see when it is called directly.
            "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
            "spark.executorEnv.OMP_NUM_THREADS": "1",
            "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
            "spark.executorEnv.MKL_NUM_THREADS": "1",
        }
    ).getOrCreate()
    session = open_session(SparkConfig())
    yield session
    session.stop()


@pytest.fixture(scope="session")
def sample_night(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> SampleNight:
    """One night on a sample of 120 users, 90 items and 4,000 ratings, k = 7, factors published."""
    from builders import make_config

    from jobs.datasets.sample import write_sample
    from jobs.night.night import run_nightly

    data = tmp_path_factory.mktemp("sample")
    output = tmp_path_factory.mktemp("night") / "out"
    write_sample(data, users=120, items=90, ratings=4_000, seed=1)
    config = make_config(
        data / "ratings.csv",
        output,
        input={"items": str(data / "movies.csv")},
        clean={"min_item_ratings": 5},
        score={"k": 7},
        publish={"factors": True, "report": True},
    )
    night = run_nightly(spark, config, date(2026, 11, 21))
    return SampleNight(data, output, night.manifest)


@pytest.fixture(scope="session")
def movielens_night(
    spark: "SparkSession", real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> SampleNight:
    """The night of ``conf/movielens.toml`` on ml-latest-small."""
    from jobs.night.night import run_nightly
    from jobs.settings.toml import load_config

    data = real_data / "ml-latest-small"
    output = tmp_path_factory.mktemp("movielens") / "out"
    overrides = [
        f"input.ratings={data}/ratings.csv",
        f"input.items={data}/movies.csv",
        f"output.path={output}",
    ]
    config = load_config(CONF / "movielens.toml", overrides)
    night = run_nightly(spark, config, date(2026, 11, 21))
    return SampleNight(data, output, night.manifest)
