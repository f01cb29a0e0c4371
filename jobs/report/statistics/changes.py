"""What has changed since the run before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from jobs.report.counting.counts import ListCounts, UserCounts
from jobs.report.statistics.coverage import RankedItem, rank_items
from jobs.report.statistics.history import list_checks
from jobs.report.statistics.limits import shorten

_MOVERS = 10


@dataclass(frozen=True)
class Changes:
    """This run beside the one it was compared with."""

    run_id: str
    users: UserCounts
    overlap: float | None
    """Mean share of a user's list that was in the list before; None without a user in both."""
    risen: list[RankedItem]
    fallen: list[RankedItem]


def find_changes(
    manifest: Mapping[str, Any], table: pd.DataFrame, counts: ListCounts
) -> Changes | None:
    """None where there was no run to compare with."""
    if counts.users is None:
        return None
    overlap = {check["bound"]: check["value"] for check in list_checks(manifest)}.get("min_overlap")
    moved = _list_all_items(table, counts.items)
    moved["change"] = moved["lists"] - moved["lists_before"]

    def pick(rows: pd.DataFrame, *, ascending: bool) -> list[RankedItem]:
        ordered = rows.sort_values(["change", "item_id"], ascending=[ascending, True])
        assert counts.users is not None
        return rank_items(ordered.head(_MOVERS), counts.users.now)

    return Changes(
        str(manifest["gate"]["compared_with"]),
        counts.users,
        overlap,
        pick(moved[moved["change"] > 0], ascending=False),
        pick(moved[moved["change"] < 0], ascending=True),
    )


def _list_all_items(table: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Items of the lists of both runs; one that has left the catalogue stands as its id."""
    names = table.set_index("item_id")["name"]
    known = names.reindex(items["item_id"]).to_numpy()
    named = [
        name if isinstance(name, str) else shorten(item_id)
        for name, item_id in zip(known, items["item_id"].tolist(), strict=True)
    ]
    return items.assign(name=named)
