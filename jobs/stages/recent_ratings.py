"""The latest ratings of the users whom the report shows: the table ``recent_ratings``."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.ratings.gather import gather_users
from jobs.tables.columns import ITEM_ID, PLACE, RATING, REASON, RECENT, TIMESTAMP, TITLE, USER_ID
from jobs.tables.published import RECENT_RATINGS

_READ_AGAIN_PARTITIONS = 8
"""Of the few users whose ratings were not kept."""


def list_recent(
    users: list[int] | list[str], candidates: pa.Table, rows: DataFrame, items: pd.DataFrame
) -> pd.DataFrame:
    """The columns of ``RECENT_RATINGS``, in order of its key; a user without a valid row has none.

    Args:
        users: ids as in the input.
        candidates: of ``collect_candidates``.
        rows: ``RatingsInput.rows``, which are read for users who are no candidates.
        items: ``ItemsInput.items``.
    """
    column = candidates.column(USER_ID)
    wanted = pa.array(users, column.type)
    found = candidates.filter(pc.is_in(column, value_set=wanted))
    missing = wanted.filter(pc.invert(pc.is_in(wanted, value_set=column))).to_pylist()
    if missing:
        found = pa.concat_tables([found, _read_recent(rows, missing)])
    recent = (
        _flatten(found)
        .sort_by([(USER_ID, "ascending"), (PLACE, "ascending")])
        .to_pandas(
            # Not through float64, as pandas has integers with nulls: ids and seconds stay exact.
            integer_object_nulls=True
        )
    )
    titles = items.set_index(ITEM_ID)[TITLE].reindex(recent[ITEM_ID])
    recent[TITLE] = [title if isinstance(title, str) else None for title in titles.tolist()]
    ordered: pd.DataFrame = recent[[column.name for column in RECENT_RATINGS.columns]]
    return ordered


def _flatten(users: pa.Table) -> pa.Table:
    """user_id, place, item_id, rating, timestamp: a row for each rating."""
    lists = users.combine_chunks().column(RECENT).combine_chunks()
    lengths = lists.value_lengths().to_numpy()
    owner = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    ratings = lists.flatten()
    return pa.table(
        {
            USER_ID: users.column(USER_ID).take(pa.array(owner)),
            PLACE: pa.array(place, pa.int32()),
            **{name: ratings.field(name) for name in (ITEM_ID, RATING, TIMESTAMP)},
        }
    )


def _read_recent(rows: DataFrame, users: list[int] | list[str]) -> pa.Table:
    """user_id, recent of a few users, from the input itself."""
    # First the cheap condition: whether a row is valid is then asked only of these users' rows.
    theirs = rows.where(F.col(USER_ID).isin(users)).where(F.col(REASON).isNull())
    gathered = gather_users(theirs, _READ_AGAIN_PARTITIONS, n_recent=len(users))
    return gathered.where(F.col(RECENT).isNotNull()).select(USER_ID, RECENT).toArrow()
