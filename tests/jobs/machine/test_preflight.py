"""The check of the cluster: against the real workers of a session, and between accounts."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from pyspark.sql import SparkSession

from jobs.errors import MachineError
from jobs.machine.preflight import (
    WORKER_PACKAGES,
    PythonAccount,
    check_cluster,
    compare_with_driver,
    require_java,
    require_packages,
)

DRIVER = PythonAccount(
    host="driver-1",
    pid=10,
    executable="/opt/python",
    python="3.12.4",
    packages=dict.fromkeys(WORKER_PACKAGES, "1.0"),
    broken={},
    threaded=(),
)
WORKER = replace(DRIVER, host="node-7", pid=4321, python="3.12.9")


def fail_check(spark: SparkSession) -> str:
    """The one line that the check ends in."""
    with pytest.raises(MachineError) as caught:
        check_cluster(spark)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def give_workers(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, directory: Path, **modules: str
) -> None:
    """Let new workers find these modules first, as spark.executorEnv.PYTHONPATH would."""
    for name, source in modules.items():
        (directory / f"{name}.py").write_text(source)
    monkeypatch.setitem(spark.sparkContext.environment, "PYTHONPATH", str(directory))


def test_a_good_cluster_is_described_for_the_manifest(spark: SparkSession) -> None:
    found = check_cluster(spark)
    assert found["java"].split(".")[0] >= "17"
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert 1 <= found["workers"] <= spark.sparkContext.defaultParallelism
    assert set(found["packages"]) == set(WORKER_PACKAGES)
    assert found["packages"]["numpy"] == numpy.__version__


def test_every_slot_is_asked(spark: SparkSession) -> None:
    check_cluster(spark)
    tracker = spark.sparkContext.statusTracker()
    job = tracker.getJobInfo(max(tracker.getJobIdsForGroup(None)))
    assert job is not None
    stage = tracker.getStageInfo(job.stageIds[0])
    assert stage is not None
    assert stage.numTasks == spark.sparkContext.defaultParallelism


def test_other_and_missing_packages_on_the_workers_are_named(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_workers(spark, monkeypatch, tmp_path, numba='__version__ = "0.1"')
    message = fail_check(spark)
    host = os.uname().nodename
    assert message.startswith("Python worker ")
    assert f" on {host} has numba 0.1, the driver has " in message
    assert "PYSPARK_PYTHON" in message
    # To the one process, a module that says so is as good as one that is not there.
    gone = "raise ModuleNotFoundError(\"No module named '{0}'\", name='{0}')"
    # A setting that only this test has: workers of the step before are not asked again.
    monkeypatch.setitem(spark.sparkContext.environment, "RECSYS_TEST", "missing")
    modules = {name: gone.format(name) for name in ("numba", "threadpoolctl")}
    give_workers(spark, monkeypatch, tmp_path, **modules)
    assert f" on {host} cannot import numba with {sys.executable}: it is not installed" in (
        fail_check(spark)
    )


def test_threads_of_blas_in_the_workers_are_refused(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(spark.sparkContext.environment, "OPENBLAS_NUM_THREADS", "2")
    message = fail_check(spark)
    assert f" on {os.uname().nodename} runs BLAS with several threads: openblas (2)" in message
    for variable in ("OMP", "OPENBLAS", "MKL"):
        assert f"spark.executorEnv.{variable}_NUM_THREADS" in message


def test_workers_of_another_python_are_told_by_version(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Spark compares the worker's Python with what its context says of the driver's.
    monkeypatch.setattr(spark.sparkContext, "pythonVer", "3.99")
    message = fail_check(spark)
    own = ".".join(map(str, sys.version_info[:2]))
    assert f" run Python {own}, the driver 3.99; set PYSPARK_PYTHON" in message


def test_workers_without_that_python_are_told_by_its_path(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark.sparkContext, "pythonExec", "/nowhere/python3")
    message = fail_check(spark)
    assert "cannot start /nowhere/python3 (" in message
    assert "No such file" in message
    assert "PYSPARK_PYTHON" in message


def test_equal_accounts_pass() -> None:
    compare_with_driver(WORKER, DRIVER)


@pytest.mark.parametrize(
    ("worker", "expected"),
    [
        (
            replace(WORKER, packages={**WORKER.packages, "scipy": "1.1"}),
            "has scipy 1.1, the driver has 1.0; give the workers",
        ),
        (
            replace(WORKER, broken={"pyarrow": "ImportError: libarrow.so"}),
            "cannot import pyarrow with /opt/python: ImportError: libarrow.so; give the workers",
        ),
        (replace(WORKER, python="3.11.9"), "is Python 3.11.9, the driver 3.12.4; set PYSPARK"),
        (replace(WORKER, threaded=("mkl (8)",)), "several threads: mkl (8); set spark.executorEnv"),
    ],
)
def test_a_difference_names_the_worker_both_sides_and_the_cure(
    worker: PythonAccount, expected: str
) -> None:
    with pytest.raises(MachineError) as caught:
        compare_with_driver(worker, DRIVER)
    assert str(caught.value).startswith("Python worker 4321 on node-7 ")
    assert expected in str(caught.value)


def test_an_old_python_on_both_sides_is_refused() -> None:
    old = replace(DRIVER, python="3.10.1")
    with pytest.raises(MachineError, match=r"3\.11 or newer"):
        compare_with_driver(replace(WORKER, python="3.10.1"), old)


def test_the_drivers_own_packages_are_required() -> None:
    with pytest.raises(MachineError, match="the driver cannot import numba"):
        require_packages(replace(DRIVER, broken={"numba": "it is not installed"}), "the driver")


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.22", "16"])
def test_an_old_java_is_refused(version: str) -> None:
    with pytest.raises(MachineError, match=f"Java {version}; install Java 17 or newer"):
        require_java(version)


@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_a_new_java_passes(version: str) -> None:
    require_java(version)
