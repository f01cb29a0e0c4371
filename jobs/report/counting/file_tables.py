"""The tables of a run as Parquet files on this machine, counted for its report in batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.errors import InputError
from jobs.report.counting.aggregations import Aggregation, aggregate
from jobs.report.counting.counts import UserCounts
from jobs.tables.columns import RANK, USER_ID
from jobs.tables.published import RECOMMENDATIONS, Table


class FileTables:
    """As ``jobs.report.counting.count_run.RunTables`` says; only columns that count are read."""

    def __init__(self, run: Path) -> None:
        """Of the run in a directory.

        Raises:
            InputError: its recommendations are missing or damaged.
        """
        self._run = run
        self._lists = open_table(run, RECOMMENDATIONS)

    @property
    def user_type(self) -> pa.DataType:
        return self._lists.schema.field(USER_ID).type

    def aggregate(self, table: Table, aggregation: Aggregation) -> pa.Table:
        files = open_table(self._run, table)
        return aggregate(files.to_batches(columns=list(aggregation.columns)), aggregation)

    def read(self, table: Table, columns: Sequence[str]) -> pa.Table | None:
        if not (self._run / table.name).is_dir():
            return None
        return open_table(self._run, table).to_table(columns=list(columns))

    def read_tops(self, users: Sequence[Any], n_ranks: int, columns: Sequence[str]) -> pa.Table:
        wanted = pc.field(USER_ID).isin(pa.array(users, self.user_type))
        return self._lists.to_table(
            columns=list(columns), filter=wanted & (pc.field(RANK) <= n_ranks)
        )

    def count_users(self, before: "FileTables") -> UserCounts:
        now, then = self._read_users(), before._read_users()
        if now.type != then.type:
            now, then = pc.cast(now, pa.string()), pc.cast(then, pa.string())
        both = pc.sum(pc.is_in(now, value_set=then)).as_py()
        return UserCounts(len(now), len(then), int(both or 0))

    def _read_users(self) -> pa.Array:
        """Who has a list: who has a first place in it."""
        column = self._lists.to_table(columns=[USER_ID], filter=pc.field(RANK) == 1)[USER_ID]
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def open_table(run: Path, table: Table) -> ds.Dataset:
    """A table of the run in a directory; its rows are read later.

    Raises:
        InputError: it is missing or damaged.
    """
    place = run / table.name
    try:
        return ds.dataset(place, format="parquet")
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{place} cannot be read: {error}") from None
