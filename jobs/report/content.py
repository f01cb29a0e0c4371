"""All that the report of a run shows, put together.

The tables of a run are counted where they lie (``jobs/report/counting``), and its figures computed
from the counts, the manifest and the items (``jobs/report/statistics``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from jobs.report.counting.counts import ListCounts
from jobs.report.statistics.changes import Changes, find_changes
from jobs.report.statistics.clusters import ClusterCard, describe_clusters
from jobs.report.statistics.coverage import Coverage, measure_coverage
from jobs.report.statistics.excluded import ExcludedReason, list_excluded
from jobs.report.statistics.history import RunPoint, list_history
from jobs.report.statistics.item_map import ItemMap, draw_map
from jobs.report.statistics.limits import shorten, thin
from jobs.report.statistics.lists import (
    LengthBin,
    ScoreBin,
    count_lengths,
    count_scores,
    score_range,
)
from jobs.report.statistics.sampled_users import SampledUser, list_sample, name_order
from jobs.runs.records import RunRecord
from recsys_core.arrays import Float32Array

_MAX_LOSSES = 500


@dataclass(frozen=True)
class RunItems:
    """The items of a run, in order of item_index."""

    table: pd.DataFrame
    """The columns of ``ITEM_CLUSTERS``."""
    embeddings: Float32Array
    """[n_items, n_factors]."""


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


def assemble_report(
    manifest: Mapping[str, Any],
    items: RunItems,
    counts: ListCounts,
    earlier: Sequence[RunRecord],
) -> ReportData:
    """Put together what the report shows.

    Args:
        manifest: of the run, with the results of its gate.
        earlier: the kept runs before it, in any order.
    """
    table = _add_lists(items.table, counts.items)
    audit = manifest["audit"]
    sampled_items, sampled_users = list_sample(counts, table)
    return ReportData(
        manifest=manifest,
        history=list_history(manifest, earlier),
        losses=thin(list(enumerate(manifest["training"]["losses"])), _MAX_LOSSES),
        scores=count_scores(counts.places, score_range(manifest)),
        lengths=count_lengths(counts.places, audit["users_without_list"]),
        sources=dict(audit["source_users"]),
        coverage=measure_coverage(table, audit["users"]),
        map=draw_map(table, items.embeddings),
        clusters=describe_clusters(table),
        n_clusters=int(table["cluster"].nunique()),
        excluded=list_excluded(counts.excluded),
        changes=find_changes(manifest, table, counts),
        sampled_users=sampled_users,
        sampled_items=sampled_items,
        rated_by=name_order(counts.recent),
    )


def _add_lists(table: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """The items of the run with the number of lists that hold each, and a name."""
    counts = items.set_index("item_id")
    ids = table["item_id"].astype(str)
    names = table["title"].where(table["title"].notna(), ids)
    found = counts.reindex(ids, fill_value=0)
    return table.assign(
        item_id=ids.to_numpy(),
        name=[shorten(name) for name in names.tolist()],
        lists=found["lists"].to_numpy(),
        lists_before=found["lists_before"].to_numpy(),
    )
