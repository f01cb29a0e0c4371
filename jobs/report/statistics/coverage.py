"""How the lists fall on the catalogue, and its most recommended items."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from jobs.report.statistics.limits import thin
from recsys_core.arrays import Int64Array

_MAX_CURVE_POINTS = 100
_TOP_ITEMS = 15


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


def measure_coverage(table: pd.DataFrame, n_lists: int) -> Coverage:
    """How the places of ``n_lists`` lists fall on the items.

    Args:
        table: item_id, name, lists and lists_before of all items.
    """
    lists = np.sort(table["lists"].to_numpy(np.int64))[::-1]
    shares = np.arange(1, len(lists) + 1) / len(lists)
    places = np.cumsum(lists) / max(1, lists.sum())
    corners = thin(list(range(len(lists))), _MAX_CURVE_POINTS)
    curve = [(0.0, 0.0), *((float(shares[at]), float(places[at])) for at in corners)]
    top = table.sort_values(["lists", "item_id"], ascending=[False, True]).head(_TOP_ITEMS)
    return Coverage(
        items=len(table),
        recommended=int((lists > 0).sum()),
        gini=_measure_gini(lists),
        first_ten=float(places[:10][-1]),
        first_tenth=float(places[: -(-len(lists) // 10)][-1]),
        curve=curve,
        top=rank_items(top, n_lists),
    )


def _measure_gini(descending: Int64Array) -> float:
    """The Gini coefficient of counts; 0 where all are 0."""
    n, total = len(descending), int(descending.sum())
    if total == 0:
        return 0.0
    weights = n - 1 - 2 * np.arange(n)
    return float((weights * descending).sum() / (n * total))


def rank_items(rows: pd.DataFrame, n_lists: int) -> list[RankedItem]:
    """The rows as they come, beside the number of all lists."""
    return [
        RankedItem(name, int(lists), int(before), lists / max(1, n_lists))
        for name, lists, before in zip(
            rows["name"].tolist(),
            rows["lists"].tolist(),
            rows["lists_before"].tolist(),
            strict=True,
        )
    ]
