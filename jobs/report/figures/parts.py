"""The parts of the nightly report, as plain data of a bounded size."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from recsys_core.arrays import Float32Array

SCORE_BINS = 40
MAX_SAMPLED_RANKS = 10
_MAX_TEXT = 80
"""Characters of a title or id that are shown: nothing in an input may swell the page."""


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


@dataclass(frozen=True)
class RunItems:
    """The items of a run, in order of item_index."""

    table: pd.DataFrame
    """The columns of ``ITEM_CLUSTERS``."""
    embeddings: Float32Array
    """[n_items, n_factors]."""


@dataclass(frozen=True)
class RunPoint:
    """The figures of one of the kept runs that are drawn over time."""

    run_id: str
    started: str
    figures: dict[str, float]
    """Figures that the run has; those of the evaluation by metric, as ``ndcg@10``."""
    baseline: dict[str, float]
    """The metrics of popularity, by the same names."""


@dataclass(frozen=True)
class ScoreBin:
    """How many places of the lists have a score in a range."""

    low: float
    high: float
    first: int
    """Of rank 1."""
    other: int


@dataclass(frozen=True)
class LengthBin:
    """How many users have a list of a length in a range."""

    shortest: int
    longest: int
    users: int


@dataclass(frozen=True)
class RankedItem:
    """An item by the number of lists that hold it."""

    name: str
    lists: int
    lists_before: int
    share: float
    """Of the lists."""

    @property
    def change(self) -> int:
        return self.lists - self.lists_before


@dataclass(frozen=True)
class Coverage:
    """How the places of the lists fall on the catalogue."""

    items: int
    recommended: int
    gini: float
    """0: every item is in equally many lists; 1: one item has all places."""
    first_ten: float
    """Share of the places that the ten most recommended items have."""
    first_tenth: float
    """Share of the places that the most recommended tenth of the items has."""
    curve: list[tuple[float, float]]
    """Share of the catalogue, the most recommended first, and the share of places it has."""
    top: list[RankedItem]


@dataclass(frozen=True)
class MapItem:
    """An item of the map."""

    name: str
    genres: str
    cluster: int
    ratings: int
    lists: int
    x: float
    y: float


@dataclass(frozen=True)
class ItemMap:
    """The item factors' two directions of most variance."""

    items: list[MapItem]
    """The most rated ones."""
    explained: float
    """Share of the variance that the two directions hold."""


@dataclass(frozen=True)
class GenreShare:
    """How common a genre is in a cluster, and in the catalogue."""

    name: str
    share: float
    catalogue_share: float


@dataclass(frozen=True)
class ClusterCard:
    """One cluster."""

    cluster: int
    name: str
    items: int
    ratings: int
    genres: list[GenreShare]
    titles: list[str]


@dataclass(frozen=True)
class ExcludedReason:
    """What one reason left out."""

    kind: str
    reason: str
    entries: int | None
    """Users or items; None for rows."""
    ratings: int


@dataclass(frozen=True)
class Changes:
    """This run beside the one it was compared with."""

    run_id: str
    users: UserCounts
    overlap: float | None
    """Mean share of a user's list that was in the list before; None without a user in both."""
    risen: list[RankedItem]
    fallen: list[RankedItem]


@dataclass(frozen=True)
class SampledUser:
    """The top of one user's list; items are places in ``ReportData.sampled_items``."""

    user: str
    source: str
    items: list[int]
    rated: list[tuple[int, float]]
    """Item and rating, in order of ``ReportData.rated_by``."""


@dataclass(frozen=True)
class ReportData:
    """All that the report shows."""

    manifest: Mapping[str, Any]
    history: list[RunPoint]
    """The oldest first, this run last."""
    losses: list[tuple[int, float]]
    scores: list[ScoreBin]
    lengths: list[LengthBin]
    sources: dict[str, int]
    """Users by what made their list."""
    coverage: Coverage
    map: ItemMap
    clusters: list[ClusterCard]
    n_clusters: int
    excluded: list[ExcludedReason]
    changes: Changes | None
    sampled_users: list[SampledUser]
    sampled_items: list[str]
    rated_by: Literal["time", "rating"] | None
    """What puts the users' ratings in order; None where the run did not keep them."""


def shorten(text: str, limit: int = _MAX_TEXT) -> str:
    """A text of at most ``limit`` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def thin(values: list[Any], limit: int) -> list[Any]:
    """At most ``limit`` of the values, evenly spread, the first and the last among them."""
    if len(values) <= limit:
        return values
    places = np.linspace(0, len(values) - 1, limit).round().astype(int)
    return [values[place] for place in places.tolist()]
