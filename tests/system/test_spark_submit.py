"""The one way in, as a person runs it: real processes, real spark-submit."""

import json
import os
import re
import shutil
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest
from paths import ROOT

from jobs.runs.current import switch_current
from jobs.runs.lock import hold_output
from jobs.runs.run import Run
from jobs.runs.staged import StagedRun
from jobs.storage.local import LocalStorage


def submit(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(ROOT / "spark-submit.sh"), *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.fixture(scope="module")
def without_java(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with the tools of a small system, and neither Java nor apt-get."""
    directory = tmp_path_factory.mktemp("bin")
    for tool in ("bash", "cat", "cksum", "dirname", "env", "find", "head", "id", "mkdir", "sed"):
        found = shutil.which(tool)
        assert found is not None
        (directory / tool).symlink_to(found)
    return {"PATH": str(directory), "JAVA_HOME": str(directory)}


def test_without_arguments_it_publishes_the_sample(tmp_path: Path) -> None:
    # --conf only keeps the test's JVM small.
    done = submit("--conf", "spark.driver.memory=1g", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lists = pd.read_parquet(tmp_path / "output/sample/current/recommendations")
    assert len(lists) == 600 * 10
    for expected in (
        "From input to training data",
        "Seconds",
        "user 1: 1. ",
        "Published 6,000 recommendations",
        "ndcg@10 on held-out ratings (600 users, split 'random'): nmf 0.",
        "SELECT * FROM",
    ):
        assert expected in done.stdout
    assert "INFO cluster 0" in done.stdout
    assert "Traceback" not in done.stdout
    # Spark's own log is quiet here, not lost.
    assert "SparkContext" not in done.stdout + done.stderr
    assert "SparkContext" in (ROOT / ".logs" / "spark.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "score.k=0"], 2, "error: --set score.k = 0: must be greater than or equal to 1"),
        (["nightly", "--config", "none.toml"], 2, "error: none.toml: no such configuration file"),
        (["--run-date", "2026-13-01"], 2, "error: --run-date 2026-13-01: expected a date"),
        (["nightly", "--nonsense"], 2, "No such option"),
        (["nonsense"], 2, "No such command"),
        (["--master"], 2, "error: --master needs a value"),
    ],
)
def test_a_wrong_command_ends_before_spark_starts(
    tmp_path: Path, without_java: dict[str, str], arguments: list[str], code: int, message: str
) -> None:
    # No Java in reach: had it been looked for, the answer would be another.
    done = submit(*arguments, cwd=tmp_path, **without_java)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_command(tmp_path: Path, without_java: dict[str, str]) -> None:
    done = submit("--help", cwd=tmp_path, **without_java)
    assert done.returncode == 0, done.stderr
    for name in ("nightly", "evaluate", "rollback", "test", "lint", "bench", "show"):
        assert re.search(rf"^ *{name}\b", done.stdout, re.MULTILINE), name


SMALL = ("--conf", "spark.driver.memory=1g", "--set", "train.ease.n_factors=20")


@pytest.fixture
def small_sample(tmp_path: Path) -> Path:
    """A directory with a sample that is quick to train on."""
    done = submit("sample", "--users", "80", "--items", "60", "--ratings", "2000", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


@pytest.mark.long
def test_settings_are_tuned(small_sample: Path) -> None:
    done = submit(
        "tune", "--trials", "2", "--set", 'tune.models=["ease"]', *SMALL, cwd=small_sample
    )
    assert done.returncode == 0, done.stderr
    assert "best settings: output/tuning/best.toml" in done.stdout
    again = submit("config", "--config", "output/tuning/best.toml", cwd=small_sample)
    assert 'model = "ease"' in again.stdout
    assert not (small_sample / "output" / "sample").exists()


@pytest.mark.long
def test_models_are_measured(small_sample: Path) -> None:
    models = ("--model", "nmf", "--model", "ease")
    done = submit("evaluate", *models, "--output", "measured", *SMALL, cwd=small_sample)
    assert done.returncode == 0, done.stderr
    assert "lists of 10, 80 users" in done.stdout
    table = pd.read_parquet(small_sample / "measured" / "evaluation.parquet")
    assert set(table["model"]) == {"nmf", "ease", "popularity", "item_mean"}


def test_without_java_one_line_says_what_to_install(
    tmp_path: Path, without_java: dict[str, str]
) -> None:
    done = submit("--set", "input.ratings=any.csv", cwd=tmp_path, **without_java)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("error: Java 17 or newer is needed: install")


def test_bad_input_ends_with_its_own_exit_code_and_one_line(tmp_path: Path) -> None:
    done = submit(
        "nightly",
        "--set",
        "input.ratings=none.csv",
        "--set",
        "output.path=out",
        "--conf=spark.driver.memory=1g",
        cwd=tmp_path,
    )
    assert done.returncode == 4
    # spark-submit sends the driver's stderr to stdout.
    output = done.stdout + done.stderr
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert errors == ["error: input.ratings = 'none.csv': no such file"]
    assert "Traceback" not in output


def test_the_settings_are_printed_with_their_descriptions(tmp_path: Path) -> None:
    done = submit("config", "--set", "score.k=3", cwd=tmp_path)
    assert done.returncode == 0
    assert "# Recommendations for each user.\nk = 3\n" in done.stdout


def test_a_sample_of_any_size_is_generated(tmp_path: Path) -> None:
    done = submit(
        "sample",
        "--users",
        "50",
        "--items",
        "60",
        "--ratings",
        "500",
        "--output",
        "s",
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert len(pd.read_csv(tmp_path / "s" / "ratings.csv")) == 500
    refused = submit("sample", "--users", "2", "--items", "2", "--ratings", "9", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")


def test_runs_are_listed_and_current_goes_back_without_spark(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "out")
    ids = []
    for day in (20, 21):
        run = Run.start(date(2026, 11, day), datetime(2026, 11, day, 3, tzinfo=UTC))
        manifest = {**run.footer, "state": "published", "audit": {"rows": 1_000 * day}}
        StagedRun(storage, run).keep(manifest)
        switch_current(storage, run)
        ids.append(run.run_id)
    where = ("--set", f"output.path={tmp_path / 'out'}")

    listed = submit("runs", *where, cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    lines = [line.split() for line in listed.stdout.splitlines() if "2026-11" in line]
    assert [line[:3] for line in lines] == [
        ["2026-11-21", ids[1], "current"],
        ["2026-11-20", ids[0], "published"],
    ]
    assert "21,000" in lines[0]

    with hold_output(storage, "tonight"):
        locked = submit("rollback", ids[0], *where, cwd=tmp_path)
    assert locked.returncode == 6
    assert locked.stderr.startswith("error: output.path = ")
    assert "run tonight, process" in locked.stderr
    assert (tmp_path / "out" / "current").resolve().name == ids[1]

    back = submit("rollback", ids[0], *where, cwd=tmp_path)
    assert back.returncode == 0, back.stderr
    assert (tmp_path / "out" / "current").resolve().name == ids[0]
    assert json.loads((tmp_path / "out" / "CURRENT.json").read_text())["run_id"] == ids[0]

    unknown = submit("rollback", "../../etc", *where, cwd=tmp_path)
    assert unknown.returncode == 2
    assert f"'../../etc' is no run in {tmp_path / 'out'}" in unknown.stderr
