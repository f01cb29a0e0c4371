"""What was left out of the run, by reason."""

from dataclasses import dataclass

import pandas as pd

from jobs.report.statistics.limits import shorten

_MAX_REASONS = 50


@dataclass(frozen=True)
class ExcludedReason:
    """What one reason left out."""

    kind: str
    reason: str
    entries: int | None
    """Users or items; None for rows."""
    ratings: int


def list_excluded(excluded: pd.DataFrame) -> list[ExcludedReason]:
    """Items, rows and users, each by reason, the most ratings first."""
    ordered = excluded.sort_values(["kind", "ratings", "reason"], ascending=[True, False, True])
    return [
        ExcludedReason(
            kind, shorten(reason), None if kind == "rows" else int(entries), int(ratings)
        )
        for kind, reason, entries, ratings in ordered.head(_MAX_REASONS).itertuples(index=False)
    ]
