"""The tables of a published run on this disk, read where an answer may be.

Only the row groups that may hold it are read, and of these only the columns that are shown.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.errors import ConfigError, InputError
from jobs.runs.run import Run
from jobs.storage.local import local_path
from jobs.tables.columns import ITEM_ID, TITLE
from jobs.tables.published import ITEM_CLUSTERS, RECOMMENDATIONS, Table

Id: TypeAlias = int | str
ITEM_COLUMNS = (ITEM_ID, TITLE, "genres", "cluster", "cluster_name")
"""What people are told of an item."""


@dataclass(frozen=True)
class PublishedTables:
    """The tables of one run. ``place`` is free of links: a publish meanwhile changes nothing."""

    place: Path

    def read(
        self, table: Table, columns: Sequence[str], condition: pc.Expression | None = None
    ) -> pa.Table:
        """The rows that fulfil a condition; columns that an older run lacks are null.

        Raises:
            InputError: the table is not there, or damaged.
        """
        try:
            rows = self._open(table)
            there = [name for name in columns if name in rows.schema.names]
            found = rows.to_table(columns=there, filter=condition)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self._at(table)} cannot be read: {_first_line(error)}") from None
        for name in columns:
            if name not in there:
                found = found.append_column(name, pa.nulls(len(found)))
        return found

    def read_items(self, ids: Sequence[Id]) -> dict[Id, dict[str, Any]]:
        """``ITEM_COLUMNS`` of these items, by id."""
        rows = self.read(ITEM_CLUSTERS, ITEM_COLUMNS, pc.field(ITEM_ID).isin([*ids]))
        return {row[ITEM_ID]: row for row in rows.to_pylist()}

    def has(self, table: Table) -> bool:
        """Whether the run has it; some are there when asked for, or since a release."""
        return self._at(table).is_dir()

    def parse_id(self, table: Table, column: str, text: str) -> Id | None:
        """``text`` as an id of this run's type; None where it can be none."""
        try:
            is_text = pa.types.is_string(self._open(table).schema.field(column).type)
        except (OSError, KeyError, pa.ArrowException) as error:
            raise InputError(f"{self._at(table)} cannot be read: {_first_line(error)}") from None
        if is_text:
            return text
        is_number = re.fullmatch(r"\s*[-+]?[0-9]{1,19}\s*", text) is not None
        return int(text) if is_number and -(2**63) <= int(text) < 2**63 else None

    def _at(self, table: Table) -> Path:
        return self.place / table.name

    def _open(self, table: Table) -> Any:
        return ds.dataset(self._at(table), format="parquet")

    @cached_property
    def n_users(self) -> int | None:
        """Users with a list, as the manifest says; None where it does not."""
        try:
            return int(json.loads((self.place / "manifest.json").read_bytes())["audit"]["users"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def open_run(directory: Path) -> PublishedTables:
    """The run in a directory, such as ``OUT/current`` or ``OUT/runs/RUN_ID``.

    Raises:
        InputError: no run is there.
    """
    place = directory.resolve()  # one look at the link
    if not (place / RECOMMENDATIONS.name).is_dir():
        raise InputError(
            f"{directory} is no run: it has no {RECOMMENDATIONS.name}/; give a run's directory, "
            "as OUT/current"
        )
    return PublishedTables(place)


def open_current(output: str) -> PublishedTables:
    """The run that readers of an output are led to.

    Raises:
        ConfigError: the output is not on this machine's disk.
        InputError: nothing is published there.
    """
    root = _require_local(output)
    if (root / "current").exists():
        return open_run(root / "current")
    try:
        return open_run(root / str(json.loads((root / "CURRENT.json").read_bytes())["path"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"output.path = '{output}': no run is published there") from None


def open_by_id(output: str, run_id: str) -> PublishedTables:
    """A run of an output, current or not.

    Raises:
        ConfigError: the output is not on this machine's disk.
        InputError: it has no such run.
    """
    return open_run(_require_local(output) / Run.from_id(run_id).place)


def _require_local(output: str) -> Path:
    root = local_path(output)
    if root is None:
        raise ConfigError(
            f"output.path = '{output}' is not on this machine's disk; copy a run here, and name it "
            "with --run"
        )
    return root


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0]
