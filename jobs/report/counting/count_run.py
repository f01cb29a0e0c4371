"""Count a run's tables for its report, wherever they lie."""

from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jobs.report.counting.aggregations import (
    EXCLUDED_BY_REASON,
    LISTS_BY_ITEM,
    Aggregation,
    count_places,
    pick_users,
)
from jobs.report.counting.counts import ListCounts, UserCounts
from jobs.tables.columns import ITEM_ID, PLACE, RANK, RATING, SOURCE, TIMESTAMP, TITLE, USER_ID
from jobs.tables.published import (
    EXCLUDED,
    MAX_SAMPLED_USERS,
    RECENT_RATINGS,
    RECOMMENDATIONS,
    Table,
)

MAX_SAMPLED_RANKS = 10


class RunTables(Protocol):
    """The tables of a run where they lie: Spark's frames, or files on this machine."""

    @property
    def user_type(self) -> pa.DataType:
        """The type of ids of users."""
        ...

    def aggregate(self, table: Table, aggregation: Aggregation) -> pa.Table:
        """The result over all rows of a table."""
        ...

    def read(self, table: Table, columns: Sequence[str]) -> pa.Table | None:
        """All rows of a small table; None where the run does not have it."""
        ...

    def read_tops(self, users: Sequence[Any], n_ranks: int, columns: Sequence[str]) -> pa.Table:
        """The first places of these users' lists."""
        ...

    def count_users(self, before: Self) -> UserCounts:
        """Users with a list, here and in a run before; ids of two types are compared as text."""
        ...


def sample_users(tables: RunTables, n_users: int = MAX_SAMPLED_USERS) -> list[Any]:
    """Ids of the users that the report shows, as in the tables."""
    picked = tables.aggregate(RECOMMENDATIONS, pick_users(n_users))
    ids: list[Any] = pc.cast(picked[USER_ID], tables.user_type).to_pylist()
    return ids


def count_run(
    tables: RunTables,
    before: RunTables | None,
    *,
    limits: tuple[float, float] | None,
    users: Sequence[Any],
) -> ListCounts:
    """What the report needs of the published tables.

    Args:
        tables: ``RECOMMENDATIONS``, ``EXCLUDED`` and ``RECENT_RATINGS`` of the run.
        before: ``RECOMMENDATIONS`` of the run it is compared with; of the same kind.
        limits: lowest and highest score of the model's rows; None where it has none.
        users: from ``sample_users``; those that ``RECENT_RATINGS`` has.
    """
    return ListCounts(
        items=_count_items(tables, before),
        places=_sort(tables.aggregate(RECOMMENDATIONS, count_places(limits))),
        excluded=_sort(tables.aggregate(EXCLUDED, EXCLUDED_BY_REASON)),
        sample=_sample_lists(tables, users),
        recent=_list_recent(tables),
        users=None if before is None else tables.count_users(before),
    )


def _count_items(tables: RunTables, before: RunTables | None) -> pd.DataFrame:
    sides = {"lists": tables, **({} if before is None else {"lists_before": before})}
    counted = pd.DataFrame(
        {
            name: side.aggregate(RECOMMENDATIONS, LISTS_BY_ITEM)
            .to_pandas()
            .set_index(ITEM_ID)["lists"]
            for name, side in sides.items()
        }
    )
    counted = counted.reindex(columns=["lists", "lists_before"]).fillna(0).astype(np.int64)
    return counted.rename_axis(ITEM_ID).sort_index().reset_index()


def _sort(counted: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = counted.to_pandas()
    return frame.sort_values(list(frame.columns), ignore_index=True)


def _sample_lists(tables: RunTables, users: Sequence[Any]) -> pd.DataFrame:
    columns = (USER_ID, RANK, ITEM_ID, SOURCE)
    return _sort(_write_ids(tables.read_tops(users, MAX_SAMPLED_RANKS, columns)))


def _list_recent(tables: RunTables) -> pd.DataFrame | None:
    columns = (USER_ID, PLACE, ITEM_ID, TITLE, RATING, TIMESTAMP)
    rows = tables.read(RECENT_RATINGS, columns)
    if rows is None:
        return None
    timed = pc.is_valid(rows[TIMESTAMP])
    return _sort(_write_ids(rows.drop_columns([TIMESTAMP]).append_column("timed", timed)))


def _write_ids(rows: pa.Table) -> pa.Table:
    """The same rows with ids as text."""
    for name in (USER_ID, ITEM_ID):
        ids = pc.cast(rows[name], pa.string())
        rows = rows.set_column(rows.column_names.index(name), name, ids)
    return rows
