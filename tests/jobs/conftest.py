"""Fixtures for the tests of the jobs."""

from pathlib import Path

import pytest
from builders import STORAGES
from pyspark.sql import SparkSession

from jobs.storage import Storage


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, spark: SparkSession, tmp_path: Path) -> Storage:
    """Each kind of output in turn, at ``tmp_path / "out"``, which is not there yet."""
    return STORAGES[request.param](spark, tmp_path / "out")
