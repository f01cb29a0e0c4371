"""The latest ratings of the users whom the report shows: one more, filtered look at the input.

The ratings that a night caches have times only where its evaluation goes by them; to carry those of
everybody would cost every night memory, for what is asked of a thousand users.
"""

from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.report_data import MAX_RECENT_RATINGS
from jobs.schemas import ITEM_ID, PLACE, RATING, REASON, RECENT_RATINGS, TIMESTAMP, TITLE, USER_ID


def collect_recent(rows: DataFrame, users: list[Any], items: pd.DataFrame) -> pd.DataFrame:
    """The columns of ``RECENT_RATINGS``, in order of its key; a user without a valid row has none.

    By time, the latest first, then item id. Ratings without a time come after those with one, and
    the highest of them first: in an input without times, a user's highest ratings are taken.

    Args:
        rows: ``RatingsInput.rows``.
        users: ids as in ``rows``, of whom there are few.
        items: ``ItemsInput.items``.
    """
    # First the cheap condition: whether a row is valid is then asked only of these users' rows.
    theirs = rows.where(F.col(USER_ID).isin(users)).where(F.col(REASON).isNull())
    # As jobs/account: of a user's ratings of an item the latest counts, then the highest.
    latest = F.max(F.struct(TIMESTAMP, RATING)).alias("latest")
    counted = theirs.groupBy(USER_ID, ITEM_ID).agg(latest).select(USER_ID, ITEM_ID, "latest.*")
    untimed = F.when(F.col(TIMESTAMP).isNull(), F.col(RATING))
    order = (F.col(TIMESTAMP).desc_nulls_last(), untimed.desc(), F.col(ITEM_ID))
    # Cut inside Spark: one of these users may have rated everything there is.
    placed = counted.withColumn(
        PLACE, F.row_number().over(Window.partitionBy(USER_ID).orderBy(*order))
    ).where(F.col(PLACE) <= MAX_RECENT_RATINGS)
    found = placed.select(USER_ID, PLACE, ITEM_ID, RATING, TIMESTAMP).toArrow()
    recent = found.sort_by([(USER_ID, "ascending"), (PLACE, "ascending")]).to_pandas(
        # Not through float64, as pandas has integers with nulls: ids and seconds stay exact.
        integer_object_nulls=True
    )
    titles = items.set_index(ITEM_ID)[TITLE].reindex(recent[ITEM_ID])
    recent[TITLE] = [title if isinstance(title, str) else None for title in titles.tolist()]
    return recent[[column.name for column in RECENT_RATINGS.columns]]
