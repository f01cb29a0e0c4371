"""The log of a night, as text and as JSON lines."""

import json
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import make_config
from click.testing import CliRunner
from nights import SampleNight
from pyspark.sql import SparkSession

from jobs.cli.nightly import check
from jobs.errors import InputError
from jobs.night.night import run_nightly
from jobs.process.clock import StageClock
from jobs.process.log import is_json_log, name_run, set_up_logging

STAGES = {"read", "clean", "index", "train", "score", "cluster", "audit", "gate"}
FIRST_USER = 900_000_001
REFUSED_RATING = 77.0625
FIELDS = {"time", "level", "logger", "message", "run_id"}


def mark(rating: float) -> float:
    """A rating in the same range that no other number is likely to look like."""
    return round(0.99 * rating + 0.0123, 4)


MARKS = ("90000", str(REFUSED_RATING), *(str(mark(half / 2)) for half in range(1, 11)))
"""What stands in the log only if a user id or a rating does."""

ReadLines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Give the test run its own logging back."""
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    root.handlers = []  # else they would be closed when the job sets up its own
    yield
    logging.captureWarnings(False)
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
def read_lines(capsys: pytest.CaptureFixture[str]) -> ReadLines:
    """What has been printed, each line of which must be JSON with the fields of a log line."""

    def read() -> list[dict[str, Any]]:
        printed = capsys.readouterr()
        assert printed.out == ""
        lines = [json.loads(line) for line in printed.err.splitlines()]
        for line in lines:
            assert set(line) >= FIELDS
            assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
        return lines

    return read


@pytest.fixture(scope="module")
def ratings(sample_night: SampleNight, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with user ids and ratings that stand out, and some rows to refuse."""
    rows = pd.read_csv(sample_night.data / "ratings.csv")
    rows["userId"] += FIRST_USER - 1
    rows["rating"] = rows["rating"].map(mark)
    refused = rows.head(20).assign(rating=REFUSED_RATING)
    path = tmp_path_factory.mktemp("log") / "ratings.csv"
    pd.concat([rows, refused]).to_csv(path, index=False)
    return path


def make_night(ratings: Path, output: Path, **sections: Any) -> Any:
    return make_config(ratings, output, score={"k": 3}, **sections)


def test_a_night_is_json_lines_without_users_and_ratings(
    spark: SparkSession, ratings: Path, tmp_path: Path, read_lines: ReadLines
) -> None:
    set_up_logging("json")
    before = datetime.now(UTC)
    night = run_nightly(spark, make_night(ratings, tmp_path / "out"), before.date())
    lines = read_lines()
    stages = Counter(line["stage"] for line in lines if "stage" in line)
    assert set(stages) >= set(night.manifest["stage_seconds"]) >= STAGES
    assert set(stages.values()) == {1}
    for line in lines:
        assert line["run_id"] == night.run.run_id
        assert ("stage" in line) == ("seconds" in line)
        moment = datetime.fromisoformat(line["time"])
        assert before - timedelta(seconds=1) < moment < datetime.now(UTC)
        assert not any(text in json.dumps(line) for text in MARKS), line
    assert any("rating" in line["message"] and line["level"] == "WARNING" for line in lines)


def test_a_night_that_fails_names_nobody(
    spark: SparkSession, ratings: Path, tmp_path: Path, read_lines: ReadLines
) -> None:
    set_up_logging("json")
    clean = {"max_rating": 1.0}  # refuses nearly all rows
    with pytest.raises(InputError) as error:
        run_nightly(
            spark, make_night(ratings, tmp_path / "out", clean=clean), datetime.now(UTC).date()
        )
    for text in (str(error.value), *(json.dumps(line) for line in read_lines())):
        assert not any(number in text for number in MARKS)


def test_lines_carry_the_run_from_when_it_is_named(read_lines: ReadLines) -> None:
    set_up_logging("json")
    logging.getLogger("jobs.early").info("no run yet")
    name_run("2026-11-21-x")
    logging.getLogger("jobs.late").warning('%d%% of "all"\nand more', 7)
    early, late = read_lines()
    assert early["run_id"] is None
    assert late == {
        "time": late["time"],
        "level": "WARNING",
        "logger": "jobs.late",
        "message": '7% of "all"\nand more',
        "run_id": "2026-11-21-x",
    }


def test_a_stage_is_one_line_and_a_failed_one_none(read_lines: ReadLines) -> None:
    set_up_logging("json")
    clock = StageClock()
    with clock.stage("read"):
        pass
    with pytest.raises(InputError), clock.stage("clean"):
        raise InputError("x")
    (line,) = read_lines()
    assert (line["stage"], line["seconds"]) == ("read", clock.seconds["read"])
    assert line["message"].startswith("read: done in ")


def test_warnings_are_lines_of_the_log(read_lines: ReadLines) -> None:
    with warnings.catch_warnings():  # which pytest would collect otherwise
        warnings.simplefilter("always")
        set_up_logging("json")
        warnings.warn("beware", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = read_lines()
    assert (line["level"], line["logger"]) == ("WARNING", "py.warnings")
    assert "UserWarning: beware" in line["message"]


def test_text_stays_text(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging()
    name_run("2026-11-21-x")
    with StageClock().stage("read"):
        pass
    assert not is_json_log()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(" INFO read: done in 0.0 s")


def test_the_format_can_be_changed_within_a_process(read_lines: ReadLines) -> None:
    set_up_logging("json")
    set_up_logging("text")
    assert not is_json_log()
    set_up_logging("json")
    assert is_json_log()
    logging.getLogger("jobs").info("once")
    assert [line["message"] for line in read_lines()] == ["once"]


def test_a_failure_before_spark_is_json_and_keeps_its_exit_code(tmp_path: Path) -> None:
    metrics = tmp_path / "recsys.prom"
    arguments = ["--config", "none.toml", "--log-format", "json", "--metrics-file", str(metrics)]
    done = CliRunner().invoke(check, arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert line["level"] == "ERROR"
    assert line["message"] == "none.toml: no such configuration file"
    assert "recsys_last_run_exit_code 2.0" in metrics.read_text()


def test_an_unforeseen_error_says_where_and_not_with_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "c.toml"
    config.write_text("")

    def fail(*_: object) -> None:
        raise KeyError(FIRST_USER)

    monkeypatch.setattr("jobs.settings.toml.load_config", fail)
    done = CliRunner().invoke(check, ["--config", str(config), "--log-format", "json"])
    assert done.exit_code == 1
    line = json.loads(done.stderr)
    assert line["message"] == "unexpected KeyError"
    assert "in fail" in line["traceback"][-1]
    assert str(FIRST_USER) not in done.stderr
    # As text it is a traceback, as ever.
    plain = CliRunner().invoke(check, ["--config", str(config)])
    assert isinstance(plain.exception, KeyError)


def test_json_silences_the_progress_bar(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np
    from scipy.sparse import csr_matrix

    from jobs.settings.train import TrainConfig
    from jobs.stages.train import train_model

    monkeypatch.setenv("RECSYS_TERMINAL", "1")
    ratings = csr_matrix(np.eye(6, dtype=np.float32) + 1)
    set_up_logging("text")
    train_model(ratings, TrainConfig.model_validate({"nmf": {"n_components": 2}}))
    assert "epoch" in capsys.readouterr().err
    set_up_logging("json")
    train_model(ratings, TrainConfig.model_validate({"nmf": {"n_components": 2}}))
    for line in capsys.readouterr().err.splitlines():
        json.loads(line)
