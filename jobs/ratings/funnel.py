"""What each rule left; and the end of the run where that is nothing, or too much was refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.errors import InputError
from jobs.ratings.cleaning_rules import ACTIVE, INPUT, UNIQUE, VALID, CleaningRules
from jobs.ratings.gather import RowAccount
from jobs.tables.columns import ITEM_ID, ITEM_INDEX, PIECE_NUMBER
from recsys_core.arrays import Int32Array

RowsAndUsers = dict[str, tuple[int, int]]
"""Step -> its rows and users."""


@dataclass(frozen=True)
class FunnelStep:
    """What is left after one rule."""

    step: str
    rule: str
    rows: int
    users: int
    items: int


def count_rows_and_users(
    account: RowAccount, kept: DataFrame, items: pd.DataFrame, rules: CleaningRules
) -> RowsAndUsers:
    """Rows and users of each step; a user counts where any of its rows is in the step.

    Args:
        kept: ``CleanRatings.ratings``.
        items: of ``count_items``.
    """
    first = F.col(PIECE_NUMBER) == 0
    sums = kept.agg(
        *(F.sum(step).alias(f"{step}_rows") for step in rules.user_steps),
        *(_count(F.col(step) > 0).alias(f"{step}_users") for step in rules.user_steps),
        F.sum(F.size(ITEM_INDEX)).alias(f"{ACTIVE}_rows"),
        _count(first & (F.size(ITEM_INDEX) > 0)).alias(f"{ACTIVE}_users"),
    ).collect()[0]
    totals = {
        step: (int(sums[f"{step}_rows"] or 0), int(sums[f"{step}_users"]))
        for step in (*rules.user_steps, ACTIVE)
    }
    return {
        INPUT: (int(items["rows"].sum()), account.n_users),  # rows without a user too
        VALID: (int(items["valid"].sum()), account.n_valid_users),
        **totals,
    }


def _count(condition: Column) -> Column:
    return F.count(F.when(condition, True))


def make_funnel(
    rows_and_users: RowsAndUsers,
    items: pd.DataFrame,
    passed: Int32Array,
    n_survivors: int,
    rules: CleaningRules,
) -> list[FunnelStep]:
    """A step for the input and for each rule, in order.

    Args:
        items: of ``count_items``.
        passed: of each row of ``items``, how many item rules it passes.
        n_survivors: items of the input that stay.
    """
    known, rated = items[ITEM_ID].notna(), items["rating_count"] > 0
    n_items = {
        INPUT: (known & (items["rows"] > 0)).sum(),
        VALID: (known & (items["valid"] > 0)).sum(),
        UNIQUE: rated.sum(),
        ACTIVE: n_survivors,
    }
    for number, step in enumerate(rules.item_steps, start=1):
        n_items[step.step] = (rated & (passed >= number)).sum()
    return [
        FunnelStep(step, words, *rows_and_users[step], int(n_items[step]))
        for step, words in rules.describe().items()
    ]


def require_rows(items: pd.DataFrame, refused: Mapping[str, int]) -> None:
    """Stop where there is nothing to clean.

    Raises:
        InputError: no row was read, or none is valid; says why.
    """
    n_rows = int(items["rows"].sum())
    if n_rows == 0:
        raise InputError("input.ratings holds a header and no rows")
    if not items["valid"].any():
        raise InputError(
            f"none of the {n_rows:,} rows of input.ratings is valid: {_list_reasons(refused)}"
        )


def require_few_refused(refused: Mapping[str, int], n_rows: int, max_fraction: float) -> None:
    """Stop before training where too much of the input is bad.

    Raises:
        InputError: more than ``max_fraction`` of the rows are quarantined; says both.
    """
    n_refused = sum(refused.values())
    if n_rows and n_refused > max_fraction * n_rows:
        raise InputError(
            f"{n_refused:,} of {n_rows:,} input rows are quarantined ({n_refused / n_rows:.1%}), "
            f"more than clean.max_bad_fraction = {max_fraction:g} allows: "
            f"{_list_reasons(refused)}; mend the input, or raise the setting"
        )


def _list_reasons(refused: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} ({count:,})" for reason, count in [*refused.items()][:3])


def require_survivors(funnel: list[FunnelStep], rules: CleaningRules) -> None:
    """Stop where a rule leaves nothing.

    Raises:
        InputError: says which, how much came to it, and what to do.
    """
    for before, step in pairwise(funnel):
        if step.rows == 0:
            raise InputError(
                f"no rating is left after the rule '{step.rule}': {before.rows:,} ratings, "
                f"{before.users:,} users and {before.items:,} items came to it; {rules.advice}"
            )
