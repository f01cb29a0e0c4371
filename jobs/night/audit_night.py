"""Everything a night has staged, read back and held to what it promises."""

from dataclasses import dataclass

from jobs.night.context import Night
from jobs.night.prepare_ratings import NightRatings
from jobs.night.write_lists import NightLists
from jobs.stages.audit.excluded import audit_excluded
from jobs.stages.audit.recommendations import RecommendationsAudit, audit_recommendations
from jobs.stages.audit.tables import audit_columns, audit_rows
from jobs.tables.published import EXCLUDED


@dataclass(frozen=True)
class NightAudit:
    """What the tables were found to hold."""

    recommendations: RecommendationsAudit
    excluded: dict[str, int]
    """Rows, users and items that were left out."""


def audit_night(night: Night, ratings: NightRatings, lists: NightLists) -> NightAudit:
    """Hold the lists to the ratings, what was left out to the input, and each table to its columns
    and rows.

    Raises:
        AuditError: says of which table what is wrong.
    """
    read = night.spark.read.parquet
    recommendations = audit_recommendations(
        lists.frame,
        ratings.indexed.frame,
        ratings.catalog.item_ids,
        k=night.config.score.k,
        n_partitions=ratings.plan.n_partitions,
        left_out=lists.left_out,
        rules=lists.rules,
        effects=lists.effects,
    )
    excluded = audit_excluded(
        read(night.staged.table_uri(EXCLUDED)), (ratings.funnel[0], ratings.funnel[-1])
    )
    audit_columns(lists.table, lists.frame)
    for table, n_rows in night.staged.promised.items():
        written = read(night.staged.table_uri(table))
        audit_columns(table, written)
        audit_rows(table.name, written, n_rows)
    return NightAudit(recommendations, excluded)
