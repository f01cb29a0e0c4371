"""The runs of an output: pointers, locks, what is swept and what is kept. Real files, no Spark but
for the store behind Hadoop."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import jobs.storage.hadoop
from jobs.errors import ConfigError, LockedError, MachineError
from jobs.runs.current import find_current, switch_current
from jobs.runs.lock import hold_output, prepare_output
from jobs.runs.records import find_published, list_runs, read_current
from jobs.runs.retention import remove_old_runs
from jobs.runs.run import Run
from jobs.runs.staged import StagedRun
from jobs.storage.base import Storage
from jobs.storage.hadoop import HadoopStorage
from jobs.storage.local import LocalStorage

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


@pytest.fixture
def storage(storage: Storage) -> Storage:
    storage.check_writable()
    return storage


@pytest.fixture
def local(tmp_path: Path) -> LocalStorage:
    store = LocalStorage(tmp_path / "out")
    store.check_writable()
    return store


def keep_run(
    storage: Storage, started: datetime, *, day: date | None = None, state: str = "published"
) -> Run:
    """A run in its place, with one file in a table; not current."""
    run = Run.start(day or started.date(), started)
    storage.write(f".staging/{run.run_id}/recommendations/part.parquet", run.run_id.encode())
    StagedRun(storage, run).keep({**run.footer, "state": state})
    storage.write(f"quarantine/{run.run_id}/part.parquet", b"refused")
    storage.write(f"status/{run.run_id}.json", b"{}")
    return run


def test_a_run_knows_its_date_and_start_by_its_id() -> None:
    run = Run.start(date(2026, 11, 20), NOW)
    assert Run.from_id(run.run_id) == run
    assert (run.run_date, run.started) == (date(2026, 11, 20), NOW)


@pytest.mark.parametrize("text", ["", "..", "2026-11-20", "../2026-11-20-20261120T030000-abcdef"])
def test_nothing_else_is_a_run_id(text: str) -> None:
    with pytest.raises(ValueError, match="is not a run id"):
        Run.from_id(text)


def test_the_current_run_is_the_one_switched_to(storage: Storage) -> None:
    first, second = keep_run(storage, NOW), keep_run(storage, NOW + timedelta(days=1))
    assert find_current(storage) is None
    for run in (second, first):
        switch_current(storage, run)
        assert find_current(storage) == run
        current = read_current(storage)
        assert current is not None
        assert current.manifest["run_id"] == run.run_id
    records = list_runs(storage)
    assert [record.run for record in records] == [second, first]
    assert [record.is_current for record in records] == [False, True]


def test_a_pointer_file_left_behind_follows_the_link(local: LocalStorage) -> None:
    first, second = keep_run(local, NOW), keep_run(local, NOW + timedelta(days=1))
    switch_current(local, first)
    old = local.read("CURRENT.json")
    switch_current(local, second)
    for damage in (old, b"{", b"[]", b'{"path": 3}', b'{"path": "runs/../../etc"}'):
        local.write("CURRENT.json", damage)
        prepare_output(local)
        assert json.loads(local.read("CURRENT.json"))["run_id"] == second.run_id


def test_only_what_dead_runs_left_is_swept(storage: Storage) -> None:
    dead = Run.start(NOW.date(), NOW)
    kept = keep_run(storage, NOW)
    ours = {".staging/not-a-run/f", f"runs/{kept.run_id}/recommendations/part.parquet", ".mine"}
    for path in ours:
        storage.write(path, b"x")
    swept = {
        f".staging/{dead.run_id}/recommendations/_temporary/0/part",
        f".current.{'a' * 32}",
        f".CURRENT.json.{'0' * 32}",
        f"status/.{dead.run_id}.json.{'f' * 32}",
    }
    for path in swept:
        storage.write(path, b"x")
    prepare_output(storage)
    assert all(storage.exists(path) for path in ours)
    assert not any(storage.exists(path) for path in swept)


@pytest.mark.parametrize("name", ["runs", ".staging", "quarantine", "status"])
def test_a_directory_that_is_a_link_is_refused(
    local: LocalStorage, tmp_path: Path, name: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MachineError, match=f"{name} is a symbolic link"):
        prepare_output(local)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("target", ["/etc", "../elsewhere", "runs/../..", "runs", "runs/x"])
def test_a_current_that_leads_elsewhere_is_refused(
    local: LocalStorage, tmp_path: Path, target: str
) -> None:
    (tmp_path / "out" / "current").symlink_to(target)
    with pytest.raises(MachineError, match="current leads to"):
        prepare_output(local)


def test_a_current_that_is_a_directory_is_refused_at_once(
    local: LocalStorage, tmp_path: Path
) -> None:
    (tmp_path / "out" / "current").mkdir()
    with pytest.raises(MachineError, match="current is a directory"):
        prepare_output(local)


def test_the_last_runs_stay_and_the_current_and_the_young(storage: Storage) -> None:
    runs = [keep_run(storage, NOW - timedelta(days=age)) for age in range(6)]  # the latest first
    rejected = [keep_run(storage, NOW - timedelta(days=age), state="rejected") for age in (0, 3, 4)]
    switch_current(storage, runs[5])
    removed = remove_old_runs(storage, keep_runs=1, keep_hours=50, now=NOW)
    # 0 is the last, 1 and 2 are younger than 50 hours, 5 is current.
    assert set(removed) == {run.run_id for run in (runs[3], runs[4], rejected[1], rejected[2])}
    left = {record.run for record in list_runs(storage)}
    assert left == {runs[0], runs[1], runs[2], runs[5], rejected[0]}
    assert {*storage.list("quarantine")} == {run.run_id for run in left}
    assert {*storage.list("status")} == {f"{run.run_id}.json" for run in left}
    assert storage.list(".staging") == []


def test_refused_rows_of_runs_that_failed_go_with_time(storage: Storage) -> None:
    failed = [Run.start(NOW.date(), NOW - timedelta(days=age)) for age in range(4)]
    for run in failed:
        storage.write(f"quarantine/{run.run_id}/part.parquet", b"x")
    storage.write("quarantine/by-hand/f", b"x")
    remove_old_runs(storage, keep_runs=2, keep_hours=0, now=NOW)
    assert {*storage.list("quarantine")} == {failed[0].run_id, failed[1].run_id, "by-hand"}


def test_going_back_takes_a_published_run(storage: Storage) -> None:
    good = keep_run(storage, NOW)
    bad = keep_run(storage, NOW + timedelta(days=1), state="rejected")
    assert find_published(storage, good.run_id) == good
    with pytest.raises(ConfigError, match="was rejected by the gate"):
        find_published(storage, bad.run_id)
    for unknown in ("../../etc", "2026-11-25-20261125T030000-000000"):
        with pytest.raises(ConfigError, match="is no run in"):
            find_published(storage, unknown)


def test_one_writer_at_a_time_and_the_other_is_told_who(storage: Storage) -> None:
    with hold_output(storage, "2026-11-25-first"):
        with (
            pytest.raises(LockedError, match=f"run 2026-11-25-first, process {os.getpid()}") as e,
            hold_output(storage, "second"),
        ):
            pass
        assert e.value.exit_code == 6
        assert "\n" not in str(e.value)
    with hold_output(storage, "third"):
        pass


HOLD = """
import sys, time
from pathlib import Path
from jobs.runs.lock import hold_output
from jobs.storage.local import LocalStorage
with hold_output(LocalStorage(Path(sys.argv[1])), "of another process"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_holder_blocks_nobody(local: LocalStorage, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(LockedError, match="of another process"),
            hold_output(local, "ours"),
        ):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with hold_output(local, "ours"):
        pass


def test_a_lease_that_is_not_renewed_ends(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = HadoopStorage(spark, (tmp_path / "out").as_uri())
    storage.write(".lock", b'{"run": "dead"}')
    with pytest.raises(LockedError, match="run dead"), hold_output(storage, "ours"):
        pass
    os.utime(tmp_path / "out" / ".lock", (time.time() - 3_600,) * 2)
    with hold_output(storage, "ours"):
        assert json.loads(storage.read(".lock"))["run"] == "ours"
    assert not storage.exists(".lock")
    # One that is renewed outlives its lease.
    monkeypatch.setattr(jobs.storage.hadoop, "_LEASE_SECONDS", 2.0)
    with hold_output(storage, "long"):
        time.sleep(3)
        with pytest.raises(LockedError, match="run long"), hold_output(storage, "other"):
            pass
