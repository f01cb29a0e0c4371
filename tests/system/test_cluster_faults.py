"""Nights on a standalone cluster whose tasks, Python workers and executors fail.

``./spark-submit.sh test -m long tests/system/test_cluster_faults.py`` runs them: six minutes on two
cores, too long for every suite.
"""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from clusters import (
    Cluster,
    Night,
    files_below,
    hash_rows,
    processes_of,
    standalone_cluster,
    task_ends,
    wait_for,
)

from jobs.datasets.sample import write_sample

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]  # of a machine others use as well


@dataclass
class Bench:
    """A cluster, a sample, and an output whose current run came of a night without a fault."""

    cluster: Cluster
    sample: Path
    output: Path
    oracle: str
    content_hash: str | None

    def start(self, directory: Path, *arguments: str, fault: str = "") -> Night:
        return self.cluster.start_night(
            directory, self.sample, self.output, *arguments, fault=fault
        )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("cluster")
    write_sample(directory / "sample", users=300, items=200, ratings=9_000, seed=1)
    with standalone_cluster(directory) as cluster:
        bench = Bench(cluster, directory / "sample", directory / "out", "", None)
        night = bench.start(directory / "oracle")
        assert night.wait() == 0, night.output
        assert {reason for reason, _, _ in task_ends(directory / "oracle")} == {"Success"}
        assert_nothing_is_left(bench, directory / "oracle")
        bench.oracle = hash_rows(bench.output / "current" / "recommendations")
        bench.content_hash = published_hash(bench.output)
        yield bench


def published_hash(output: Path) -> str | None:
    manifest = json.loads((output / "current" / "manifest.json").read_text())
    return manifest["audit"].get("content_hash")


def assert_same_rows(bench: Bench, before: Path) -> None:
    current = (bench.output / "current").resolve()
    assert current != before
    assert hash_rows(current / "recommendations") == bench.oracle
    assert published_hash(bench.output) == bench.content_hash


def assert_nothing_is_left(bench: Bench, directory: Path) -> None:
    """Neither processes nor temporary files of the night that ran in ``directory``."""
    # The worker removes an application's directories a moment after it has ended.
    wait_for(lambda: not processes_of(directory), f"end of {processes_of(directory)}", 30)
    left = [bench.cluster.local, directory / "local", directory / "tmp"]
    wait_for(lambda: not any(map(files_below, left)), f"end of {[*map(files_below, left)]}", 30)
    assert not [*bench.cluster.local.rglob("blockmgr-*"), *(directory / "local").iterdir()]
    assert not [*(bench.output / ".staging").glob("*")]


def wait_for_scoring(night: Night, directory: Path) -> dict[str, int]:
    """The process ids of the worker that scores first, and waits."""
    note = directory / "faults" / "claimed"
    night.wait_for(note.exists, "scoring")
    return json.loads(note.read_text())


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_rows_are_the_same_after_an_executor_was_killed(bench: Bench, tmp_path: Path) -> None:
    before = (bench.output / "current").resolve()
    night = bench.start(tmp_path / "night", fault="wait_once")
    executor = parent_of(wait_for_scoring(night, tmp_path / "night")["daemon"])
    assert b"CoarseGrainedExecutorBackend" in Path(f"/proc/{executor}/cmdline").read_bytes()
    os.kill(executor, signal.SIGKILL)
    assert night.wait() == 0, night.output
    assert "ExecutorLostFailure" in {reason for reason, _, _ in task_ends(tmp_path / "night")}
    assert_same_rows(bench, before)
    assert_nothing_is_left(bench, tmp_path / "night")


def test_rows_are_the_same_after_a_python_worker_was_killed(bench: Bench, tmp_path: Path) -> None:
    before = (bench.output / "current").resolve()
    night = bench.start(tmp_path / "night", fault="wait_once")
    os.kill(wait_for_scoring(night, tmp_path / "night")["worker"], signal.SIGKILL)
    assert night.wait() == 0, night.output
    failures = [whole for reason, _, whole in task_ends(tmp_path / "night") if reason != "Success"]
    assert len(failures) == 1
    assert "Python worker exited unexpectedly" in failures[0]
    assert_same_rows(bench, before)
    assert_nothing_is_left(bench, tmp_path / "night")


def test_rows_are_the_same_when_a_slow_task_is_overtaken(bench: Bench, tmp_path: Path) -> None:
    before = (bench.output / "current").resolve()
    night = bench.start(
        tmp_path / "night",
        "--conf=spark.speculation=true",
        "--conf=spark.speculation.quantile=0.5",
        "--conf=spark.speculation.multiplier=2",
        fault="wait_once",
    )
    slow = wait_for_scoring(night, tmp_path / "night")["worker"]
    assert night.wait() == 0, night.output
    assert not Path(f"/proc/{slow}").exists()
    assert not (tmp_path / "night" / "faults" / "went-on").exists()
    ends = [(reason, copy) for reason, copy, _ in task_ends(tmp_path / "night")]
    assert ("Success", True) in ends
    assert ("TaskKilled", False) in ends
    assert_same_rows(bench, before)
    assert_nothing_is_left(bench, tmp_path / "night")


def test_rows_are_the_same_after_a_task_has_failed_once(bench: Bench, tmp_path: Path) -> None:
    before = (bench.output / "current").resolve()
    night = bench.start(tmp_path / "night", fault="fail_once")
    assert night.wait() == 0, night.output
    failures = [whole for reason, _, whole in task_ends(tmp_path / "night") if reason != "Success"]
    assert len(failures) == 1
    assert "injected: fails the first time" in failures[0]
    assert_same_rows(bench, before)
    assert_nothing_is_left(bench, tmp_path / "night")


def test_a_task_that_always_fails_ends_the_night_and_changes_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    before = (bench.output / "current").resolve()
    pointer = (bench.output / "CURRENT.json").read_bytes()
    night = bench.start(tmp_path / "night", fault="fail_always")
    assert night.wait() == 1, night.output
    assert len(list((tmp_path / "night" / "faults").iterdir())) >= 4  # spark.task.maxFailures
    errors = [line for line in night.output.splitlines() if line.startswith("error: ")]
    assert errors == ["error: Spark failed: RuntimeError: injected: fails whenever it is tried"]
    assert "Traceback" not in night.output
    assert (bench.output / "current").resolve() == before
    assert (bench.output / "CURRENT.json").read_bytes() == pointer
    assert hash_rows(before / "recommendations") == bench.oracle
    assert_nothing_is_left(bench, tmp_path / "night")
