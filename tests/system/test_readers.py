"""Readers at work while runs are published: never a mixture, never nothing, never an error."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.runs.current import switch_current
from jobs.runs.lock import hold_output, prepare_output
from jobs.runs.retention import remove_old_runs
from jobs.runs.run import Run
from jobs.runs.staged import StagedRun
from jobs.storage.local import LocalStorage

N_USERS, N_FILES, N_PUBLISHES = 400, 4, 20
Rows = list[tuple[int, str]]  # user, run id


def publish(output: Path, run: Run) -> None:
    """A run whose rows name it, as the job publishes one."""
    storage = LocalStorage(output)
    with hold_output(storage, run.run_id):
        prepare_output(storage)
        staged = StagedRun(storage, run)
        table = output / ".staging" / run.run_id / "recommendations"
        table.mkdir(parents=True)
        for part in range(N_FILES):
            users = list(range(part, N_USERS, N_FILES))
            rows = pa.table({"user_id": users, "run_id": [run.run_id] * len(users)})
            pq.write_table(rows, table / f"part-{part}-{run.run_id}.parquet")
        staged.keep({**run.footer, "state": "published"})
        switch_current(storage, run)
        remove_old_runs(storage, keep_runs=2, keep_hours=48, now=datetime.now(UTC))


def through_link(output: Path) -> Rows:
    place = (output / "current").resolve()
    return to_rows(pd.read_parquet(place / "recommendations"))


def through_pointer(output: Path) -> Rows:
    place = output / json.loads((output / "CURRENT.json").read_text())["path"]
    return to_rows(pd.read_parquet(place / "recommendations"))


def with_polars(output: Path) -> Rows:
    place = (output / "current").resolve()
    lists = pl.scan_parquet(f"{place}/recommendations/*.parquet").collect()
    return list(zip(lists["user_id"].to_list(), lists["run_id"].to_list(), strict=True))


def with_duckdb(output: Path) -> Rows:
    with duckdb.connect() as connection:
        connection.execute(
            f"SET VARIABLE run = (SELECT '{output}/' || path FROM '{output}/CURRENT.json')"
        )
        files = "getvariable('run') || '/recommendations/*.parquet'"
        query = f"SELECT user_id, run_id FROM read_parquet({files})"
        return [(user, run) for user, run in connection.execute(query).fetchall()]


def to_rows(lists: pd.DataFrame) -> Rows:
    return list(zip(lists["user_id"].tolist(), lists["run_id"].tolist(), strict=True))


READERS: dict[str, Callable[[Path], Rows]] = {
    "link": through_link,
    "pointer": through_pointer,
    "polars": with_polars,
    "duckdb": with_duckdb,
}


def check_whole(rows: Rows) -> str:
    assert sorted(user for user, _ in rows) == list(range(N_USERS))
    runs = {run for _, run in rows}
    assert len(runs) == 1
    return runs.pop()


def read_while_publishing(output: Path, reader: Callable[[Path], Rows]) -> tuple[list[str], int]:
    """The run each read saw, and how many were published meanwhile."""
    # As young as they are, none is removed: readers are given publish.keep_hours.
    runs = [Run.start(date(2026, 1, 1), datetime.now(UTC)) for _ in range(N_PUBLISHES + 1)]
    publish(output, runs[0])
    failures: list[BaseException] = []

    def publish_all() -> None:
        try:
            for run in runs[1:]:
                publish(output, run)
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=publish_all)
    writer.start()
    seen: list[str] = []
    while writer.is_alive() or not seen:
        seen.append(check_whole(reader(output)))
    writer.join()
    assert failures == []
    assert check_whole(reader(output)) == runs[-1].run_id
    return seen, len(runs) - 1


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_each_read_sees_one_whole_run(tmp_path: Path, reader: Callable[[Path], Rows]) -> None:
    output = tmp_path / "out"
    LocalStorage(output).check_writable()
    seen, published = read_while_publishing(output, reader)
    assert published == N_PUBLISHES
    assert len(set(seen)) > 1  # it did read while runs went by


def test_spark_sees_one_whole_run_each_time(spark: SparkSession, tmp_path: Path) -> None:
    output = tmp_path / "out"
    LocalStorage(output).check_writable()

    def with_spark(output: Path) -> Rows:
        place = json.loads((output / "CURRENT.json").read_text())["path"]
        return to_rows(spark.read.parquet(f"{output}/{place}/recommendations").toPandas())

    read_while_publishing(output, with_spark)


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    hidden = [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert sorted(hidden) == [".lock", ".staging"]
