"""What is counted of a run's tables for its report."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class UserCounts:
    """Users with a list, in this run and in the one before it."""

    now: int
    before: int
    both: int


@dataclass(frozen=True)
class ListCounts:
    """A run's tables, counted: small however many users there are. Ids are texts."""

    items: pd.DataFrame
    """item_id, lists, lists_before: items in any list of this run or of the one before it."""
    places: pd.DataFrame
    """source, rank, score_bin, rows; the bin is -1 where the score is not the model's."""
    excluded: pd.DataFrame
    """kind, reason, entries, ratings."""
    sample: pd.DataFrame
    """user_id, rank, item_id, source: the tops of some users' lists."""
    recent: pd.DataFrame | None
    """user_id, place, item_id, title, rating, timed: what these users rated last, and whether it is
    known when; None for a run that did not keep it."""
    users: UserCounts | None
    """None where there is no run to compare with."""
