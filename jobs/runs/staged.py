"""A run that is written aside, until it is whole and moves to its place (``jobs.runs.places``).

Who writes here holds ``Storage.lock``: what lies in staging when a run begins is of the dead.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DataType

from jobs.runs.places import MANIFEST, STAGING
from jobs.runs.run import Run
from jobs.storage.base import Storage
from jobs.tables.columns import USER_ID
from jobs.tables.published import QUARANTINE, Table
from jobs.tables.spark import conform
from recsys_core.query.saved_model import SavedModel, encode_model

ROW_GROUP_BYTES = 2**20
"""Rows of a user lie together and in order of user in each file, so that a reader who wants one
user skips, by their statistics, all row groups but one of each file. Smaller ones compress worse: a
table of 10 million rows is 4% larger with this than in one piece, and 18% with half of it."""


class StagedRun:
    """A run being written; no reader is led to any of it before ``switch_current``."""

    def __init__(self, storage: Storage, run: Run) -> None:
        self._storage = storage
        self.run = run
        self.promised: dict[Table, int] = {}
        """How many rows each table must hold, where that is known as it is written."""
        self._path = f"{STAGING}/{run.run_id}"

    def table_uri(self, table: Table) -> str:
        """Where Spark finds a staged table."""
        return self._storage.uri(f"{self._path}/{table.name}")

    def write_table(self, table: Table, frame: DataFrame, n_rows: int | None = None) -> None:
        """Write ``frame`` with exactly the columns of ``table``.

        Args:
            n_rows: how many rows there must be, for ``promised``.
        """
        if n_rows is not None:
            self.promised[table] = n_rows
        _write_parquet(conform(frame, table, self.run.footer), self.table_uri(table))

    def write_local_table(
        self,
        spark: SparkSession,
        table: Table,
        rows: pd.DataFrame,
        item_id_type: DataType | None = None,
        user_id_type: DataType | None = None,
    ) -> None:
        """Write a table whose rows are on the driver, as one file in their order.

        Args:
            item_id_type: where the table has ids of items.
            user_id_type: where it has ids of users, in ``user_id``.
        """
        user_type, item_type = (
            "" if id_type is None else id_type.simpleString()
            for id_type in (user_id_type, item_id_type)
        )
        schema = ", ".join(
            f"{column.name} {column.type or (user_type if column.name == USER_ID else item_type)}"
            for column in table.columns
        )
        frame = spark.createDataFrame(rows, schema=schema).coalesce(1)
        self.write_table(table, frame, len(rows))

    def write_quarantine(self, rows: DataFrame) -> str:
        """Keep refused rows at once, to be looked at even when the run fails; the place."""
        staged = f"{self._path}/{QUARANTINE.name}"
        kept = f"{QUARANTINE.name}/{self.run.run_id}"
        _write_parquet(conform(rows, QUARANTINE, self.run.footer), self._storage.uri(staged))
        self._storage.move(staged, kept)
        return f"{self._storage.root}/{kept}"

    def write_model(self, saved: SavedModel) -> dict[str, str]:
        """Write the model; the sha256 of each of its files."""
        files = encode_model(saved)
        for name, data in files.items():
            self._storage.write(f"{self._path}/model/{name}", data)
        return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}

    def write_page(self, name: str, page: bytes) -> None:
        """Write a page for people beside the tables."""
        self._storage.write(f"{self._path}/{name}", page)

    def keep(self, manifest: Mapping[str, Any]) -> str:
        """Complete the run with its manifest and move it to its place, which is returned.

        It is whole from then on, and no reader is led to it yet.
        """
        text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
        self._storage.write(f"{self._path}/{MANIFEST}", text.encode())
        self._storage.move(self._path, self.run.place)
        return self.run.place

    def discard(self) -> None:
        """Remove what was staged and not published."""
        self._storage.delete(self._path)


def _write_parquet(frame: DataFrame, uri: str) -> None:
    # mode('error'): a run's directory is new, and nothing is ever deleted to make room.
    writer = frame.write.mode("error").option("parquet.block.size", ROW_GROUP_BYTES)
    writer.parquet(uri, compression="zstd")
