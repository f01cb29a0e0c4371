"""Fixtures for the tests of the jobs."""

import shutil
from datetime import date
from pathlib import Path

import pytest
from builders import STORAGES, make_config
from nights import SampleNight
from pyspark.sql import SparkSession

from jobs.storage.base import Storage


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, spark: SparkSession, tmp_path: Path) -> Storage:
    """Each kind of output in turn, at ``tmp_path / "out"``, which is not there yet."""
    return STORAGES[request.param](spark, tmp_path / "out")


@pytest.fixture(scope="session")
def next_night(
    spark: SparkSession, sample_night: SampleNight, tmp_path_factory: pytest.TempPathFactory
) -> SampleNight:
    """The night after ``sample_night``, on a copy of its output: with titles, a number of clusters
    that is chosen, one item less, and popular items for a user of few ratings."""
    from jobs.night.night import run_nightly

    output = tmp_path_factory.mktemp("next") / "out"
    shutil.copytree(sample_night.output, output, symlinks=True)
    config = make_config(
        sample_night.data / "ratings.csv",
        output,
        input={"items": str(sample_night.data / "movies.csv")},
        clean={"min_item_ratings": 24, "min_user_ratings": 21},
        score={"k": 7, "fallback": "popularity"},
        cluster={"n_clusters": "choose", "choose_from": [12, 4, 500], "seed": 7},
        publish={"titles": True, "similar_items": 0, "report": True},
    )
    night = run_nightly(spark, config, date(2026, 11, 22))
    return SampleNight(sample_night.data, output, night.manifest)
