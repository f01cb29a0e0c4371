"""What was left out, held to the input: every row, user and item once."""

from collections.abc import Sequence
from typing import Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import AuditError


class FunnelCounts(Protocol):
    """What the audit needs of a step of the cleaning funnel."""

    @property
    def rows(self) -> int: ...

    @property
    def users(self) -> int: ...

    @property
    def items(self) -> int: ...


def audit_excluded(excluded: DataFrame, funnel: Sequence[FunnelCounts]) -> dict[str, int]:
    """Hold the written table of what was left out to the input: every row, user and item once.

    Args:
        excluded: the staged table.
        funnel: the first and the last step.

    Returns:
        How many rows, users and items were left out.

    Raises:
        AuditError: what came in is not what was kept and what was left out.
    """
    counts = {
        row["kind"]: int(row["n"])
        for row in excluded.groupBy("kind")
        .agg(F.sum(F.when(F.col("kind") == "rows", F.col("rating_count")).otherwise(1)).alias("n"))
        .collect()
    }
    came, kept = funnel
    for kind, before, after in (
        ("rows", came.rows, kept.rows),
        ("user", came.users, kept.users),
        ("item", came.items, kept.items),
    ):
        if before != after + counts.get(kind, 0):
            raise AuditError(
                f"excluded does not reconcile: {before:,} of kind '{kind}' came in, {after:,} were "
                f"kept and {counts.get(kind, 0):,} are listed as left out; nothing was published"
            )
    return counts
