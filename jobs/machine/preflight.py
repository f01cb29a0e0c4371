"""What the cluster must have, asked of every worker before any data is touched.

The probe is imported by the workers: it may need nothing there but Python and this package.
"""

import importlib
import os
import platform
import re
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jobs.errors import MachineError
from jobs.machine.blas import ONE_BLAS_THREAD, find_threaded_pools
from jobs.process.failures import find_root_cause

MINIMUM_JAVA = 17
MINIMUM_PYTHON = (3, 11)
WORKER_PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "numba", "threadpoolctl")
"""What Python workers compute with; each in the driver's version, as results depend on it."""
_SAME_ENVIRONMENT = (
    "give the workers the driver's environment: PYSPARK_PYTHON, or spark-submit's --archives"
)
"""What to do where that does not hold."""


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
            f"{worker.place} is Python {worker.python}, the driver {driver.python}; "
            f"{_describe_same_python()}"
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
    """What to do where Python did not come as far as the probe."""
    lost = re.search(r"\(TID \d+\) \((\S+) executor ", text)
    workers = f"the workers on {lost[1]}" if lost else "the workers"
    versions = re.search(r"different version: (\S+) than that in driver: ([\d.]+\d)", text)
    if versions:
        found = f"run Python {versions[1]}, the driver {versions[2]}"
        return f"{workers} {found}; {_describe_same_python()}"
    program = re.search(r'Cannot run program "([^"]*)": (.*)', text)
    if program:
        return f"{workers} cannot start {program[1]} ({program[2]}); {_describe_same_python()}"
    if "No module named 'jobs'" in text:
        return f"{workers} cannot import this program; give it to spark-submit with --py-files"
    return f"{workers} cannot run Python: {find_root_cause(text)}; {_SAME_ENVIRONMENT}"


def _minor(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _describe_same_python() -> str:
    minimum = ".".join(map(str, MINIMUM_PYTHON))
    return f"set PYSPARK_PYTHON to the driver's Python, {minimum} or newer, on every worker"


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
