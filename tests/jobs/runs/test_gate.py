from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.errors import GateError
from jobs.runs.gate import check_bounds, describe_failures, measure_overlap, require_passed
from jobs.settings.gate import GateConfig

GOOD: dict[str, Any] = {
    "audit": {
        "users": 100,
        "rows": 1_000,
        "distinct_items": 50,
        "top_item_lists": 40,
        "min_score": 0.1,
        "max_score": 4.9,
    },
    "funnel": [{"rows": 10_000, "users": 110}, {"rows": 9_000, "items": 100}],
    "quarantined": {"rating is NaN": 10},
    "evaluation": {"gain_over_popularity": 0.1},
}
BEFORE: dict[str, Any] = {"funnel": [{"rows": 10_000}]}


def change(**audit: Any) -> dict[str, Any]:
    return {**GOOD, "audit": {**GOOD["audit"], **audit}}


def failed(manifest: dict[str, Any], **facts: Any) -> list[str]:
    checks = check_bounds(manifest, GateConfig(), **{"bad_factors": 0, **facts})
    return [check.bound for check in checks if not check.passed]


def test_every_bound_of_the_settings_is_held_against_something() -> None:
    checks = check_bounds(GOOD, GateConfig(), bad_factors=0, before=BEFORE, overlap=0.6)
    assert [check.bound for check in checks] == list(GateConfig.model_fields)
    assert all(check.passed for check in checks)
    values = {check.bound: check.value for check in checks}
    assert values["min_item_coverage"] == 0.5
    assert values["max_top_item_share"] == 0.4
    assert values["max_quarantined"] == 0.001


def test_coverage_is_of_the_items_that_may_be_recommended() -> None:
    ruled = {**GOOD, "rules": {"allowed_items": 60}}
    values = {c.bound: c.value for c in check_bounds(ruled, GateConfig(), bad_factors=0)}
    assert values["min_item_coverage"] == pytest.approx(50 / 60, abs=1e-6)


def test_without_a_run_before_nothing_is_compared() -> None:
    checks = check_bounds(GOOD, GateConfig(), bad_factors=0)
    assert not {"max_input_drop", "min_overlap"} & {check.bound for check in checks}


def test_a_night_that_is_not_evaluated_is_not_held_to_popularity() -> None:
    checks = check_bounds({**GOOD, "evaluation": None}, GateConfig(), bad_factors=0)
    assert "min_gain_over_popularity" not in {check.bound for check in checks}


@pytest.mark.parametrize(
    ("bound", "manifest", "facts"),
    [
        ("min_users_covered", change(users=87, top_item_lists=40), {}),
        ("min_rows", change(rows=0), {}),
        ("min_item_coverage", change(distinct_items=0), {}),
        ("max_top_item_share", change(top_item_lists=96), {}),
        ("min_score", change(min_score=-1e9), {}),
        ("max_score", change(max_score=1e9), {}),
        ("max_bad_factors", GOOD, {"bad_factors": 1}),
        ("max_quarantined", {**GOOD, "quarantined": {"a": 300, "b": 201}}, {}),
        ("max_input_drop", GOOD, {"before": {"funnel": [{"rows": 12_501}]}}),
        ("min_overlap", GOOD, {"before": BEFORE, "overlap": 0.04}),
        ("min_gain_over_popularity", {**GOOD, "evaluation": {"gain_over_popularity": -0.1}}, {}),
        ("min_gain_over_popularity", {**GOOD, "evaluation": {"gain_over_popularity": 0.0}}, {}),
    ],
)
def test_each_bound_can_fail_alone(
    bound: str, manifest: dict[str, Any], facts: dict[str, Any]
) -> None:
    assert failed(manifest, **facts) == [bound]


def test_growth_is_no_drop_and_an_unreadable_manifest_is_not_compared() -> None:
    assert failed(GOOD, before={"funnel": [{"rows": 10}]}) == []
    for damaged in ({}, {"funnel": []}, {"funnel": [{"rows": "many"}]}):
        assert failed(GOOD, before=damaged) == []


def test_the_refusal_names_bound_value_and_limit() -> None:
    checks = check_bounds(change(top_item_lists=98, rows=0), GateConfig(), bad_factors=0)
    expected = "gate.min_rows = 1, the run has 0; gate.max_top_item_share = 0.95, the run has 0.98"
    assert describe_failures(checks) == expected
    with pytest.raises(GateError, match=r"gate\.min_rows = 1, the run has 0") as error:
        require_passed(checks, "out/runs/x")
    assert error.value.exit_code == 5


def test_overlap_is_the_mean_share_of_common_items(spark: SparkSession) -> None:
    now = [(1, 10), (1, 11), (2, 10), (2, 12), (3, 13), (4, 10)]
    before = [("1", 10), ("1", 11), ("2", 10), ("2", 99), ("3", 14), ("5", 10)]
    tables = (
        spark.createDataFrame(now, "user_id bigint, item_id bigint"),
        spark.createDataFrame(before, "user_id string, item_id bigint"),
    )
    assert measure_overlap(*tables) == pytest.approx((1 + 0.5 + 0) / 3)
    shorter = spark.createDataFrame([(1, 10)], "user_id bigint, item_id bigint")
    assert measure_overlap(shorter, tables[1]) == 1.0
    stranger = spark.createDataFrame([(77, 10)], "user_id bigint, item_id bigint")
    assert measure_overlap(stranger, tables[1]) is None
