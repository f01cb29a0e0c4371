"""Compare a finished run with fixed bounds and with the run that is current.

The audit asks whether a run is what it says it is; the gate, whether it is one to show to readers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.errors import GateError
from jobs.settings.gate import GateConfig
from jobs.tables.columns import ITEM_ID, USER_ID
from jobs.tables.published import ITEM_CLUSTERS

_SIDES = ("now", "before")


@dataclass(frozen=True)
class GateCheck:
    """One bound and how the run stands to it."""

    bound: str
    """The key of ``gate.*``: ``min_...`` or ``max_...``."""
    value: float
    limit: float
    passed: bool


def check_bounds(
    manifest: Mapping[str, Any],
    config: GateConfig,
    *,
    bad_factors: int,
    before: Mapping[str, Any] | None = None,
    overlap: float | None = None,
) -> list[GateCheck]:
    """Every bound that has something to be held against, in order of the settings.

    Args:
        manifest: of the run, as ``jobs.night.manifest.make_manifest`` makes it.
        bad_factors: numbers among the item factors that are not finite.
        before: manifest of the run to compare with.
        overlap: ``measure_overlap`` with that run.
    """
    audit, came = manifest["audit"], manifest["funnel"][0]["rows"]
    came_before = None if before is None else read_input_rows(before)
    values: dict[str, float | None] = {
        "min_users_covered": _share(audit["users"], manifest["funnel"][0]["users"]),
        "min_rows": audit["rows"],
        "min_item_coverage": _share(audit["distinct_items"], _count_items(manifest)),
        "max_top_item_share": _share(audit["top_item_lists"], audit["users"]),
        "min_score": audit["min_score"],
        "max_score": audit["max_score"],
        "max_bad_factors": bad_factors,
        "max_quarantined": _share(sum(manifest["quarantined"].values()), came),
        "max_input_drop": None if not came_before else max(0.0, 1 - came / came_before),
        "min_overlap": overlap,
        "min_gain_over_popularity": (manifest.get("evaluation") or {}).get("gain_over_popularity"),
    }
    return [
        _check(bound, value, getattr(config, bound))
        for bound, value in values.items()
        if value is not None
    ]


def _count_items(manifest: Mapping[str, Any]) -> int:
    """Items that could have been recommended.

    Of a model that is used again some have no ratings left, and are in no step of the funnel.
    """
    if manifest.get("rules"):
        return int(manifest["rules"]["allowed_items"])
    kept = int(manifest["funnel"][-1]["items"])
    return int(manifest.get("rows", {}).get(ITEM_CLUSTERS.name, kept))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _check(bound: str, value: float, limit: float) -> GateCheck:
    if bound == "min_gain_over_popularity":
        passed = value > limit  # as good as popularity is not better
    else:
        passed = value >= limit if bound.startswith("min_") else value <= limit
    return GateCheck(bound, round(value, 6), limit, passed)


def describe_failures(checks: Sequence[GateCheck]) -> str:
    """The bounds that failed, each with value and limit; empty where none did."""
    return "; ".join(
        f"gate.{check.bound} = {check.limit:g}, the run has {check.value:g}"
        for check in checks
        if not check.passed
    )


def require_passed(checks: Sequence[GateCheck], place: str) -> None:
    """Refuse to make a run current.

    Raises:
        GateError: says which bounds, the values and limits, and where the run is.
    """
    failures = describe_failures(checks)
    if failures:
        raise GateError(
            f"rejected by the gate: {failures}; the run is in {place}, current is unchanged; look "
            "at it, then run again with --force or other bounds"
        )


def read_input_rows(manifest: Mapping[str, Any]) -> int | None:
    """Rows that came into an earlier run; None where its manifest does not say."""
    try:
        return int(manifest["funnel"][0]["rows"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def measure_overlap(written: DataFrame, before: DataFrame) -> float | None:
    """Mean share of a user's list that was in the earlier one too, over users in both.

    Of lists of two lengths, the share of the shorter one. None where no user is in both.
    """
    same_ids = all(
        written.schema[name].dataType == before.schema[name].dataType for name in (USER_ID, ITEM_ID)
    )

    def take_id(name: str) -> Column:
        return F.col(name) if same_ids else F.col(name).cast("string")

    sides = [
        table.select(
            take_id(USER_ID).alias(USER_ID),
            *((take_id(ITEM_ID) if side == own else F.lit(None)).alias(side) for side in _SIDES),
        )
        for own, table in zip(_SIDES, (written, before), strict=True)
    ]
    lists = (
        reduce(DataFrame.unionAll, sides)
        .groupBy(USER_ID)
        .agg(F.collect_set("now").alias("now"), F.collect_set("before").alias("before"))
        .where((F.size("now") > 0) & (F.size("before") > 0))
    )
    share = F.size(F.array_intersect("now", "before")) / F.least(F.size("now"), F.size("before"))
    mean = lists.agg(F.avg(share)).collect()[0][0]
    return None if mean is None else float(mean)
