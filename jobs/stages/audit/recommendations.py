"""The written recommendations, held to the ratings that they were made from."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame

from jobs.errors import AuditError
from jobs.stages.audit.expected_lists import expect_lists
from jobs.stages.audit.list_checks import PromisedItems, check_lists, sum_checks
from jobs.stages.audit.totals import ListTotals, sum_lists
from recsys_core.arrays import IdArray
from recsys_core.ranking.list_rules import ListRules


@dataclass(frozen=True)
class RecommendationsAudit:
    """What the written recommendations hold."""

    rows: int
    users: int
    users_without_list: int
    """Users who have rated every item, or whom the rules leave nothing."""
    users_with_short_list: int
    """Users with fewer than k recommendations, those without a list among them."""
    distinct_items: int
    top_item_lists: int
    """Lists that hold the item recommended most often."""
    min_score: float | None
    """Of the model's rows, as is ``max_score``; None where it has none."""
    max_score: float | None
    source_users: dict[str, int]
    """Users by what made their list: 'model', 'popularity'."""
    content_hash: str
    """Of all rows, whatever their order and files: equal tables have equal hashes."""


def audit_recommendations(
    written: DataFrame,
    ratings: DataFrame,
    item_ids: IdArray,
    *,
    k: int,
    n_partitions: int,
    left_out: DataFrame | None = None,
    rules: ListRules | None = None,
    effects: Mapping[str, int] | None = None,
) -> RecommendationsAudit:
    """Check the recommendations read back from storage against the ratings they were made from.

    Args:
        written: the staged table.
        ratings: ``IndexedRatings.frame``.
        item_ids: item_index -> item_id.
        n_partitions: what the lists are split into to be looked at.
        left_out: ``IndexedRatings.left_out`` where those users were promised lists, else None.
        rules: what the lists were made under; None where there are none.
        effects: what the scoring says these did (``recsys_core.ranking.list_rules.EFFECTS``).

    Raises:
        AuditError: an unknown, repeated, seen or forbidden item, more of a kind than the rules let
            a list hold, a gap or repetition in ranks, a score that is not finite, below the rules'
            minimum or rises within a list, or another number of rows or users than the ratings,
            less what the rules left empty, promise.
    """
    parts = [ratings] if left_out is None else [ratings, left_out]
    lists = check_lists(written, PromisedItems(pa.array(item_ids), rules), n_partitions).persist()
    try:
        found = sum_checks(lists, k)
        expected = expect_lists(lists, parts, k, len(item_ids), rules)
    finally:
        lists.unpersist()
    if effects is not None:
        expected["rows"] -= effects["empty_places"]
        expected["with_list"] -= effects["empty_lists"]
    total = sum_lists(written)
    _require_sound(found, expected, total, rules)
    return RecommendationsAudit(
        rows=found["rows"],
        users=found["users"],
        users_without_list=expected["users"] - found["users"],
        users_with_short_list=expected["users"] - found["full"],
        distinct_items=total.items,
        top_item_lists=total.top_item_lists,
        min_score=total.lowest,
        max_score=total.highest,
        source_users=total.source_users,
        content_hash=total.content_hash,
    )


def _require_sound(
    found: Mapping[str, int],
    expected: Mapping[str, int],
    total: ListTotals,
    rules: ListRules | None,
) -> None:
    """Name all that is wrong with the lists at once."""
    problems = {
        "rows of an item that is not in the index": found["unknown"],
        "users whose ranks are not 1..n": found["gaps"],
        "users with an item twice": found["repeats"],
        "scores that are null or not finite": found["bad_scores"],
        "users whose scores rise with the rank": found["rising"],
        "recommended items the user has rated": expected["seen"],
        "recommended items that rules.allow or rules.block forbid": found["forbidden"],
        "lists with more of a genre or cluster than rules.* allow": found["over_cap"],
        "scores below rules.min_score, or more": int(
            rules is not None and total.lowest is not None and total.lowest < rules.min_score
        ),
        "rows from neither model nor popularity": total.strange_sources,
        "rows missing": max(0, expected["rows"] - found["rows"]),
        "rows too many": max(0, found["rows"] - expected["rows"]),
        "users missing": max(0, expected["with_list"] - found["users"]),
        "users too many": max(0, found["users"] - expected["with_list"]),
        "lists of users without a rating": found["users"] - expected["listed"],
    }
    failed = [f"{count:,} {problem}" for problem, count in problems.items() if count]
    if failed:
        raise AuditError(
            f"recommendations failed the audit and were not published: {'; '.join(failed)}"
        )
