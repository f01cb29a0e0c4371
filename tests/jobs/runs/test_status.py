"""status.json: written whole, by whoever owns it, and never in the way of a failure."""

import json
import logging
import os
import signal
from datetime import UTC, date, datetime
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest
from click.testing import CliRunner
from nights import SampleNight
from pyspark.sql import SparkSession

from jobs.cli.main import main
from jobs.process import log
from jobs.process.stop import Stopped, stops_on_sigterm
from jobs.runs.places import STATUS, STATUS_FILE
from jobs.runs.run import Run
from jobs.runs.status import RunStatus, read_status
from jobs.storage.base import Storage
from jobs.storage.local import LocalStorage
from jobs.storage.open import open_storage

NIGHT = date(2026, 11, 21)


def start_run() -> Run:
    return Run.start(NIGHT, datetime.now(UTC))


def read(storage: Storage, path: str) -> dict[str, Any]:
    return dict(json.loads(storage.read(path)))


def test_a_run_is_followed_from_start_to_end(storage: Storage) -> None:
    run = start_run()
    status = RunStatus(storage, run)
    status.start()
    running = read(storage, STATUS_FILE)
    assert running["state"] == "running"
    assert running["pid"] == os.getpid()
    assert running["host"] == os.uname().nodename
    assert running["exit_code"] is None
    assert running["finished_at"] is None
    assert read_status(storage, run.run_id) == running

    status.finish("published", 0, directory=f"runs/{run.run_id}", rows=840)
    done = read(storage, STATUS_FILE)
    assert done == running | {
        "state": "published",
        "exit_code": 0,
        "directory": f"runs/{run.run_id}",
        "rows": 840,
        "finished_at": done["finished_at"],
        "seconds": done["seconds"],
    }
    assert done["run_id"] == run.run_id
    assert done["run_date"] == "2026-11-21"
    assert done["message"] is None
    begin, end = (datetime.fromisoformat(done[key]) for key in ("started_at", "finished_at"))
    assert begin.tzinfo == end.tzinfo == UTC
    assert (end - begin).total_seconds() == pytest.approx(done["seconds"], abs=0.5)
    assert read_status(storage, run.run_id) == done
    assert storage.list(STATUS) == [f"{run.run_id}.json"]


def test_a_failure_says_why(storage: Storage) -> None:
    run = start_run()
    status = RunStatus(storage, run)
    status.start()
    status.finish("rejected", 5, message="gate.max_drop: 40% fewer users")
    done = read_status(storage)
    assert done is not None
    assert (done["state"], done["exit_code"]) == ("rejected", 5)
    assert done["message"] == "gate.max_drop: 40% fewer users"


def test_a_run_that_is_locked_out_leaves_the_owners_status(storage: Storage) -> None:
    owner, late = start_run(), start_run()
    RunStatus(storage, owner).start()
    before = storage.read(STATUS_FILE)
    RunStatus(storage, late).finish("locked", 6, message="held by another run")
    assert storage.read(STATUS_FILE) == before
    mine = read_status(storage, late.run_id)
    assert mine is not None
    assert (mine["state"], mine["exit_code"]) == ("locked", 6)


def test_what_cannot_be_written_at_the_end_is_a_warning(
    storage: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    status = RunStatus(storage, start_run())
    (tmp_path / "out").write_text("a file stands where the output was")
    with caplog.at_level(logging.WARNING):
        status.finish("failed", 1, message="the disk went away")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "status.json was not written" in caplog.text


def test_what_cannot_be_written_at_the_start_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OSError, match="out"):
        RunStatus(LocalStorage(tmp_path / "out"), start_run()).start()


@pytest.mark.parametrize("content", ["", "{", "[1, 2", "null", "3"])
def test_a_damaged_status_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / STATUS_FILE).write_text(content)
    assert read_status(LocalStorage(tmp_path)) is None


def test_an_output_without_runs_has_no_status(spark: SparkSession, tmp_path: Path) -> None:
    assert read_status(open_storage(spark, str(tmp_path / "none"))) is None


class SendSigterm(logging.Handler):
    """Sends SIGTERM to this process when a line of the log begins so."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self.line = line

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(self.line):
            os.kill(os.getpid(), SIGTERM)


@pytest.mark.parametrize("line", ["train: done", "audit: done"])
def test_a_night_that_is_told_to_stop_says_so_and_cleans_up(
    spark: SparkSession,
    sample_night: SampleNight,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    line: str,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(type(spark), "stop", lambda _: None)
    monkeypatch.setattr(log, "set_up_logging", lambda *_: None)
    stopper, figures, before = SendSigterm(line), tmp_path / "run.prom", signal.getsignal(SIGTERM)
    logging.root.addHandler(stopper)
    try:
        done = CliRunner().invoke(
            main,
            [
                "nightly",
                f"--set=input.ratings={sample_night.data}/ratings.csv",
                f"--set=input.items={sample_night.data}/movies.csv",
                f"--set=output.path={tmp_path}/out",
                f"--metrics-file={figures}",
            ],
        )
    finally:
        logging.root.removeHandler(stopper)
    assert done.exit_code == 143
    assert done.stderr.splitlines()[-1] == "error: stopped by SIGTERM"
    status = read_status(LocalStorage(tmp_path / "out"))
    assert status is not None
    assert (status["state"], status["exit_code"]) == ("failed", 143)
    assert status["message"] == "stopped by SIGTERM"
    assert "recsys_last_run_exit_code 143.0" in figures.read_text()
    assert not (tmp_path / "out" / "current").exists()
    assert not [*(tmp_path / "out" / ".staging").glob("*")]
    assert signal.getsignal(SIGTERM) == before


def test_a_second_sigterm_does_not_stop_the_cleaning_up() -> None:
    cleaned = []

    def stop_twice() -> None:
        with stops_on_sigterm():
            try:
                os.kill(os.getpid(), SIGTERM)
            finally:
                os.kill(os.getpid(), SIGTERM)
                cleaned.append(True)

    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        stop_twice()
    assert cleaned
