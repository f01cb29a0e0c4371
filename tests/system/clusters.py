"""A standalone Spark cluster on the loopback interface, and nights that are sent to a master."""

import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from paths import ROOT

FAULTS = Path(__file__).parent / "faults"
WORKER_HOSTS = ("127.0.0.1", "127.0.0.2")
"""A speculative copy of a task never runs on the host of the first: so there are two."""

QUICK_START = "-XX:TieredStopAtLevel=1"
"""Most of a night on a sample is the compilation of Spark: this leaves out its second half."""


def wait_for(found: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first true value of ``found()``."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"no {what} after {seconds:.0f} s"
        time.sleep(0.05)
    return value


def processes_of(directory: Path) -> list[str]:
    """The command lines of the processes that have this directory in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(directory).encode() in (process / "environ").read_bytes():
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(f"{process.name}: {command}")
        except OSError:  # ended meanwhile, or not ours to read
            continue
    return found


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if not path.is_dir()]


def hash_rows(table: Path) -> str:
    """The same for the same rows, in whatever order and files they lie."""
    rows = sorted(map(repr, pq.read_table(table).to_pylist()))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


@dataclass
class Night:
    """``./spark-submit.sh nightly``, started."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, found: Callable[[], Any], what: str) -> Any:
        """The first true value of ``found()``, while the night goes on."""

        def look() -> Any:
            value = found()
            assert value or self.process.poll() is None, f"ended before {what}:\n{self.output}"
            return value

        return wait_for(look, what, 400)

    def wait(self, seconds: float = 400) -> int:
        try:
            return self.process.wait(seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to the shell, spark-submit's JVM and the driver at once."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def start_night(
    directory: Path, sample: Path, output: Path, *arguments: str, **environment: str
) -> Night:
    """A night on the sample, in ``directory``, whose temporary files lie below it as well."""
    for name in ("local", "tmp"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    log = directory / "output.log"
    command = [
        str(ROOT / "spark-submit.sh"),
        "nightly",
        "--conf=spark.driver.memory=1g",
        *(f"--set=input.{table}={sample}/{file}.csv" for table, file in _INPUTS.items()),
        f"--set=output.path={output}",
        *arguments,
    ]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={
                **os.environ,
                "SPARK_LOCAL_IP": "127.0.0.1",
                "SPARK_LOCAL_DIRS": str(directory / "local"),
                "TMPDIR": str(directory / "tmp"),
                "RECSYS_SPARK_LOG": str(directory / "spark.log"),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Night(process, log)


_INPUTS = {"ratings": "ratings", "items": "movies"}


@dataclass(frozen=True)
class Cluster:
    """A master and two workers of one core each."""

    master: str
    local: Path
    """Where the executors keep blocks, shuffles and broadcasts."""

    def start_night(
        self, directory: Path, sample: Path, output: Path, *arguments: str, fault: str = ""
    ) -> Night:
        """A night whose Python workers suffer this fault of ``faults/sitecustomize.py``."""
        for name in ("faults", "events"):
            (directory / name).mkdir(parents=True)
        settings = {
            "spark.driver.host": "127.0.0.1",
            "spark.executor.memory": "768m",
            "spark.sql.shuffle.partitions": "2",
            "spark.driver.extraJavaOptions": QUICK_START,
            "spark.executor.extraJavaOptions": QUICK_START,
            "spark.executorEnv.PYTHONPATH": FAULTS,
            "spark.executorEnv.NIGHT_FAULT": fault or "none",
            "spark.executorEnv.NIGHT_FAULT_DIR": directory / "faults",
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": (directory / "events").as_uri(),
            "spark.eventLog.rolling.enabled": "false",
            "spark.eventLog.compress": "false",
        }
        conf = [f"--conf={key}={value}" for key, value in settings.items()]
        return start_night(directory, sample, output, "--master", self.master, *conf, *arguments)


@contextmanager
def standalone_cluster(directory: Path) -> Iterator[Cluster]:
    """Start a cluster that keeps all its files in ``directory``; end it with all its processes."""
    local = directory / "local"
    local.mkdir()
    (directory / "conf").mkdir()
    with ExitStack() as stack:
        log = stack.enter_context(_daemon(directory, "master", "127.0.0.1"))
        found = wait_for(
            lambda: re.search(r"Starting Spark master at (spark://\S+)", log.read_text()),
            "address of the master",
        )
        for number, host in enumerate(WORKER_HOSTS):
            options = ["--cores", "1", "--memory", "1g", "--work-dir", str(directory / "work")]
            log = stack.enter_context(
                _daemon(directory, f"worker-{number}", host, *options, found[1])
            )
            wait_for(lambda log=log: "registered with master" in log.read_text(), "worker")
        yield Cluster(found[1], local)


@contextmanager
def _daemon(directory: Path, name: str, host: str, *arguments: str) -> Iterator[Path]:
    spec = importlib.util.find_spec("pyspark")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    home = Path(spec.submodule_search_locations[0])
    kind = name.partition("-")[0]
    command = [str(home / "bin" / "spark-class")]
    command.append(f"org.apache.spark.deploy.{kind}.{kind.capitalize()}")
    command += ["--host", host, "--port", "0", "--webui-port", "0", *arguments]
    log = directory / f"{name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=_daemon_environment(directory, home, host),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield log
    finally:
        _end_group(process)


def _daemon_environment(directory: Path, home: Path, host: str) -> dict[str, str]:
    # Of whoever runs the tests only what a daemon of a fresh machine has.
    kept = {
        name: os.environ[name]
        for name in ("HOME", "JAVA_HOME", "LANG", "PATH")
        if name in os.environ
    }
    return {
        **kept,
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": str(directory / "conf"),  # empty: the log goes to the file
        "SPARK_LOCAL_IP": host,
        "SPARK_LOCAL_DIRS": str(directory / "local"),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": QUICK_START,
        "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",  # its port is a fixed one
    }


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
    finally:
        # What the daemon has started lives in its group.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def read_events(directory: Path) -> list[dict[str, Any]]:
    """Spark's own account of an application."""
    (log,) = (directory / "events").iterdir()
    return [json.loads(line) for line in log.read_text().splitlines()]


def task_ends(directory: Path) -> list[tuple[str, bool, str]]:
    """Reason, whether it was a speculative copy, and the whole reason, of each task that ended."""
    ends = []
    for event in read_events(directory):
        if event["Event"] == "SparkListenerTaskEnd":
            reason = event["Task End Reason"]
            ends.append((reason["Reason"], event["Task Info"]["Speculative"], json.dumps(reason)))
    return ends
