"""Drop what should not train a model, and account for every row.

``jobs/ratings/cleaning_rules`` says what the rules are. The first two are settled by
``jobs/ratings/gather``, which also gathers the ratings into a row for each user; everything here
and in scoring runs on those rows. ``CleanRatings.ratings.explain()`` shows one Exchange, below the
caches.
"""

from dataclasses import dataclass

import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import DataFrame

from jobs.ratings.apply_rules import apply_rules
from jobs.ratings.cleaning_rules import GivenItems, settle_rules
from jobs.ratings.count_items import add_unrated, count_items, count_survivors
from jobs.ratings.excluded import list_excluded, list_excluded_items
from jobs.ratings.funnel import (
    FunnelStep,
    count_rows_and_users,
    make_funnel,
    require_rows,
    require_survivors,
)
from jobs.ratings.gather import RowAccount
from jobs.settings.clean import CleanConfig
from jobs.tables.columns import ITEM_ID
from recsys_core.arrays import BoolArray


@dataclass(frozen=True)
class CleanRatings:
    """Ratings fit for training, and who was left out."""

    ratings: DataFrame
    """Cached rows of a user, partitioned by user: user_id, piece, item_index (array of int,
    ascending, rows of ``items``), rating (array of float); and, in piece 0, a column for each of
    ``CleaningRules.user_steps``: how many ratings of the user are left after it. The arrays of a
    user who was left out are empty; seen (array of int, rows of ``items``) then says which items it
    has rated, and is empty elsewhere. Where the account holds times, they go along (times, array of
    double)."""
    items: pd.DataFrame
    """item_id (ascending), rating_count, mean_rating of ``ratings``; the count is 0, and the mean
    NaN, where all users of an item were left out, or a given item has no rating."""
    funnel: list[FunnelStep]
    excluded: DataFrame
    """kind, id, reason, rating_count: all users and items of the input that are left out, and the
    number of rows that are, by reason (kind 'rows', without an id)."""
    excluded_items: pd.DataFrame
    """item_id, reason, rating_count: the items among them, on the driver."""


def clean_ratings(
    rows: RowAccount, config: CleanConfig, given: GivenItems | None = None
) -> CleanRatings:
    """Apply the rules of cleaning.

    Args:
        given: the items, of the type of the ratings' items; None where the rules choose them.

    Raises:
        InputError: no row is valid, or the rules leave none; says which rule and how many there
            were before it.
    """
    rules = settle_rules(config, given)
    items = count_items(rows.frame)
    require_rows(items, rows.refused)
    if given is not None:
        items = add_unrated(items, given.index)
    passed = rules.count_passed(items)
    chosen = passed == len(rules.item_steps)
    kept = apply_rules(rows.frame, items, passed, rules).persist(StorageLevel.MEMORY_AND_DISK)
    rows_and_users = count_rows_and_users(rows, kept, items, rules)
    survivors = count_survivors(kept, items, chosen, all_users_stay=config.min_user_ratings == 1)
    stays = _find_staying(items, chosen, survivors, given)
    funnel = make_funnel(rows_and_users, items, passed, int(stays.sum()), rules)
    require_survivors(funnel, rules)
    dropped = list_excluded_items(items, passed, stays, rules)
    excluded = list_excluded(dropped, funnel, rows.refused, kept, rules)
    return CleanRatings(kept, survivors, funnel, excluded, dropped)


def _find_staying(
    items: pd.DataFrame, chosen: BoolArray, survivors: pd.DataFrame, given: GivenItems | None
) -> pd.Series:
    """Of each row of ``items``, whether it is an item of the input that stays in the run.

    A given item stays in it without a rating by the users kept; one of whom no row was valid did
    not come in.
    """
    if given is not None:
        return (items["rating_count"] > 0) & chosen
    return items[ITEM_ID].isin(survivors.loc[survivors["rating_count"] > 0, ITEM_ID])
