"""What the cluster must have, asked of every worker before any data is touched.

The probe is imported by the workers: it may need nothing there but Python and this package.
"""

import importlib
import os
import platform
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jobs.blas import ONE_BLAS_THREAD, find_threaded_pools
from jobs.errors import MachineError
from jobs.failures import find_root_cause

MINIMUM_JAVA = 17
MINIMUM_PYTHON = (3, 11)
WORKER_PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "numba", "threadpoolctl")
"""What Python workers compute with; each in the driver's version, as results depend on it."""


@dataclass(frozen=True)
class PythonAccount:
    """What one Python process says of itself."""

    host: str
    pid: int
    executable: str
    python: str
    packages: Mapping[str, str]
    """Versions of those of ``WORKER_PACKAGES`` that can be imported."""
    broken: Mapping[str, str]
    """Why the others cannot."""
    threaded: tuple[str, ...]
    """Libraries that compute with several threads."""

    @property
    def place(self) -> str:
        return f"Python worker {self.pid} on {self.host}"


def check_cluster(spark: SparkSession) -> dict[str, Any]:
    """Java, Python, packages and BLAS threads of driver and workers, for the manifest.

    One task for each slot; no data is read.

    Raises:
        MachineError: one line on the first thing that is missing or differs.
    """
    java = _read_java_version(spark)
    require_java(java)
    driver = describe_python()
    require_packages(driver, "the driver")
    workers = _probe_workers(spark)
    for worker in workers:
        compare_with_driver(worker, driver)
    return {
        "java": java,
        "python": driver.python,
        "workers": len(workers),
        "packages": dict(driver.packages),
    }


def describe_python() -> PythonAccount:
    """The account of this process. Imports the packages: metadata of a broken one looks well."""
    packages, broken = {}, {}
    for name in WORKER_PACKAGES:
        try:
            packages[name] = str(importlib.import_module(name).__version__)
        except ImportError as error:
            missing = isinstance(error, ModuleNotFoundError) and error.name == name
            broken[name] = "it is not installed" if missing else _first_line(error)
        except Exception as error:  # packages raise what they like when they do not fit
            broken[name] = _first_line(error)
    return PythonAccount(
        host=socket.gethostname(),
        pid=os.getpid(),
        executable=sys.executable,
        python=platform.python_version(),
        packages=packages,
        broken=broken,
        threaded=() if "threadpoolctl" in broken else tuple(find_threaded_pools()),
    )


def require_java(version: str) -> None:
    """MachineError where the JVM of the session is too old."""
    # Java 8 still called itself 1.8.
    major = int(version.removeprefix("1.").split(".")[0].split("-")[0])
    if major < MINIMUM_JAVA:
        raise MachineError(
            f"Spark runs on Java {version}; install Java {MINIMUM_JAVA} or newer and set JAVA_HOME"
        )


def require_packages(account: PythonAccount, place: str) -> None:
    """MachineError where a package cannot be imported."""
    for name, reason in account.broken.items():
        raise MachineError(
            f"{place} cannot import {name} with {account.executable}: {reason}; {_SAME_ENVIRONMENT}"
        )


def compare_with_driver(worker: PythonAccount, driver: PythonAccount) -> None:
    """MachineError where results of the worker could differ from the driver's, or be slow."""
    if _minor(worker.python) != _minor(driver.python) or _minor(worker.python) < MINIMUM_PYTHON:
        raise MachineError(
            f"{worker.place} is Python {worker.python}, the driver is {driver.python}; both must "
            f"be the same of {_describe_minimum()} or newer: set PYSPARK_PYTHON"
        )
    require_packages(worker, worker.place)
    for name, version in driver.packages.items():
        if worker.packages[name] != version:
            raise MachineError(
                f"{worker.place} has {name} {worker.packages[name]}, the driver has {version}; "
                f"{_SAME_ENVIRONMENT}"
            )
    if worker.threaded:
        raise MachineError(
            f"{worker.place} runs BLAS with several threads: {', '.join(worker.threaded)}; "
            f"{ONE_BLAS_THREAD}"
        )


_SAME_ENVIRONMENT = (
    "give the workers the driver's environment: PYSPARK_PYTHON, or spark-submit's --archives"
)


def _read_java_version(spark: SparkSession) -> str:
    jvm: Any = spark._jvm
    return str(jvm.java.lang.System.getProperty("java.version"))


def _probe_workers(spark: SparkSession) -> list[PythonAccount]:
    slots = spark.sparkContext.defaultParallelism
    probe = spark.sparkContext.parallelize(range(slots), slots).mapPartitions(_probe_worker)
    try:
        accounts = probe.collect()
    except (PySparkException, Py4JJavaError) as error:
        raise MachineError(_explain_failed_probe(str(error))) from error
    by_process = {(account.host, account.pid): account for account in accounts}
    return [by_process[process] for process in sorted(by_process)]


def _probe_worker(_: Iterable[int]) -> Iterator[PythonAccount]:
    yield describe_python()


def _explain_failed_probe(text: str) -> str:
    cause = find_root_cause(text)
    if "PYTHON_VERSION_MISMATCH" in text:
        return f"{cause}; set PYSPARK_PYTHON to the same Python of {_describe_minimum()} or newer"
    if "Cannot run program" in text:
        return f"the workers have no such Python: {cause}; set PYSPARK_PYTHON"
    if "No module named 'jobs'" in text:
        return "the workers cannot import this program; give it to spark-submit with --py-files"
    return f"the workers cannot run Python: {cause}; {_SAME_ENVIRONMENT}"


def _minor(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _describe_minimum() -> str:
    return ".".join(map(str, MINIMUM_PYTHON))


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
