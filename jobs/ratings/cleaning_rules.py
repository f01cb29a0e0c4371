"""What the rules of cleaning keep, and what people are told of them.

The rules in order, each named as its step of the funnel; a rule applies once, to what the one
before it left:

    valid      rows that ``jobs/input/quarantine`` has no reason to refuse
    unique     of several ratings by one user of one item the latest counts; where times are equal
               or missing, the highest rating (file order is not defined in Spark)
    ...        the item rules, of which ``ITEM_RULES`` is the one list
    active     users with at least ``clean.min_user_ratings`` of the remaining ratings

To add an item rule, add its setting to ``CleanConfig`` and an entry here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jobs.settings.clean import CleanConfig
from jobs.tables.columns import ITEM_ID
from recsys_core.arrays import BoolArray, Float64Array, Int32Array, Int64Array
from recsys_core.items.index import ItemIndex

INPUT, VALID, UNIQUE, ACTIVE = "input", "valid", "unique", "active"
QUARANTINED = "quarantined"
"""Why a user or item is left out of whom no row was valid."""


# --- Which of several ratings counts -------------------------------------------------------------


def order_ratings(
    user: Int32Array, item: pa.Array, rating: Float64Array, time: Int64Array | Float64Array
) -> tuple[Int64Array, BoolArray]:
    """Sort ratings by user and item, and find the one that counts of each user and item.

    Args:
        user: [n] number of the user.
        item: [n] item id, of any type that sorts.
        rating: [n], without NaN.
        time: [n], the lowest number there is where the time is not known.

    Returns:
        The order, and [n] in that order whether a rating counts: it is the last of its item.
    """
    items = item.dictionary_encode()
    rank = np.empty(len(items.dictionary), dtype=np.int64)
    rank[pc.sort_indices(items.dictionary).to_numpy()] = np.arange(len(rank))
    pair = user.astype(np.int64) * len(rank) + rank[items.indices.to_numpy()]
    order = np.argsort(pair, kind="stable")
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = pair[order[1:]] != pair[order[:-1]]
    if not last.all():  # only now do time and rating matter
        order = np.lexsort((rating, time, pair))
    return order, last


# --- Which items stay ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ItemRule:
    """Items that stay by one setting. ``{}`` in its words is the setting's value."""

    step: str
    """Of the funnel."""
    setting: str
    """Its name in ``CleanConfig``."""
    keeps: Callable[[pd.DataFrame, float], pd.Series]
    """Of rows with rating_count and mean_rating (NaN where there is no rating), which ones stay at
    this value of the setting."""
    rule: str
    """What stays."""
    reason: str
    """Why an item is left out."""
    lost: str
    """Why its rows are."""


ITEM_RULES = (
    ItemRule(
        step="popular",
        setting="min_item_ratings",
        keeps=lambda items, least: items["rating_count"] >= least,
        rule="items with at least {} ratings",
        reason="fewer than {} ratings",
        lost="item with fewer than {} ratings",
    ),
    ItemRule(
        step="liked",
        setting="min_item_mean_rating",
        keeps=lambda items, least: items["mean_rating"] >= least,
        rule="items with a mean rating of at least {:g}",
        reason="mean rating below {:g}",
        lost="item with a mean rating below {:g}",
    ),
)


@dataclass(frozen=True)
class GivenItems:
    """Items that are chosen already: those of a model that is used again."""

    index: ItemIndex
    origin: str
    """What they are the items of, for people: 'the model of run X'."""


# --- The rules of one run ------------------------------------------------------------------------


@dataclass(frozen=True)
class ItemStep:
    """An item rule as this run applies it, its words complete."""

    step: str
    keeps: Callable[[pd.DataFrame], pd.Series]
    """Of rows with item_id, rating_count and mean_rating, which ones stay."""
    rule: str
    reason: str
    lost: str


@dataclass(frozen=True)
class CleaningRules:
    """All that a run has settled of its rules."""

    item_steps: tuple[ItemStep, ...]
    min_user_ratings: int
    advice: str
    """What to do where nothing is left."""

    @property
    def user_steps(self) -> tuple[str, ...]:
        """Steps whose ratings are counted user by user."""
        return (UNIQUE, *(step.step for step in self.item_steps))

    def describe(self) -> dict[str, str]:
        """Step of the funnel -> what it keeps, in order."""
        return {
            INPUT: "rows read",
            VALID: "rows that parse, with a rating in range",
            UNIQUE: "latest rating of each user and item",
            **{step.step: step.rule for step in self.item_steps},
            ACTIVE: f"users with at least {self.min_user_ratings} ratings",
        }

    def explain_lost_rows(self) -> dict[str, str]:
        """Step of the funnel -> why it takes a row; refused rows have reasons of their own."""
        return {
            UNIQUE: "duplicate: a later or higher rating of the same item counts",
            **{step.step: step.lost for step in self.item_steps},
            ACTIVE: f"user with {self.few_ratings}",
        }

    @property
    def few_ratings(self) -> str:
        """Why a user is left out."""
        return f"fewer than {self.min_user_ratings} ratings of the items kept"

    def count_passed(self, items: pd.DataFrame) -> Int32Array:
        """How many of the item rules each row of ``items`` passes before one stops it."""
        passes = [items[ITEM_ID].notna().to_numpy()]
        for step in self.item_steps:
            passes.append(passes[-1] & step.keeps(items).to_numpy())
        passed: Int32Array = np.sum(passes[1:], axis=0, dtype=np.int32)
        return passed


def settle_rules(config: CleanConfig, given: GivenItems | None = None) -> CleaningRules:
    """The rules by the settings.

    Where items are given, being one of them stands for the first item rule, and the others keep
    all: an item of the model stays whatever its ratings, and ratings of other items go.
    """
    if given is None:
        steps = [_apply_setting(rule, getattr(config, rule.setting)) for rule in ITEM_RULES]
        return CleaningRules(tuple(steps), config.min_user_ratings, "relax clean.*")
    first, *others = ITEM_RULES
    steps = [_keep_given(first, given), *(_pass_over(rule, given) for rule in others)]
    advice = "train a new model, or relax clean.*"
    return CleaningRules(tuple(steps), config.min_user_ratings, advice)


def _apply_setting(rule: ItemRule, value: float) -> ItemStep:
    words = (text.format(value) for text in (rule.rule, rule.reason, rule.lost))
    return ItemStep(rule.step, lambda items: rule.keeps(items, value), *words)


def _keep_given(rule: ItemRule, given: GivenItems) -> ItemStep:
    strange = f"not an item of {given.origin}"
    return ItemStep(
        rule.step,
        lambda items: items[ITEM_ID].isin(given.index.item_ids),
        f"items of {given.origin}; clean.{rule.setting} is not applied",
        strange,
        strange,
    )


def _pass_over(rule: ItemRule, given: GivenItems) -> ItemStep:
    words = f"clean.{rule.setting} is not applied to {given.origin}"
    return ItemStep(
        rule.step, lambda items: pd.Series(True, index=items.index), words, words, words
    )
