from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from builders import make_config, write_csv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from jobs.errors import InputError
from jobs.input.read_ratings import read_ratings
from jobs.ratings import cleaning_rules
from jobs.ratings.clean import CleanRatings, clean_ratings
from jobs.ratings.cleaning_rules import (
    ITEM_RULES,
    GivenItems,
    ItemRule,
    order_ratings,
    settle_rules,
)
from jobs.ratings.funnel import FunnelStep
from jobs.ratings.gather import RowAccount, account_rows
from jobs.ratings.index import index_ratings
from jobs.stages.audit.excluded import audit_excluded
from recsys_core.items.index import ItemIndex


def account(spark: SparkSession, path: Path, n_partitions: int = 2, **rules: Any) -> RowAccount:
    config = make_config(path, clean=rules)
    return account_rows(read_ratings(spark, config.input, config.clean).rows, n_partitions)


def clean(spark: SparkSession, path: Path, n_partitions: int = 2, **rules: Any) -> CleanRatings:
    rows = account(spark, path, n_partitions, **rules)
    return clean_ratings(rows, make_config(path, clean=rules).clean)


def kept_rows(cleaned: CleanRatings) -> list[tuple[Any, ...]]:
    item_ids = cleaned.items["item_id"].tolist()
    return sorted(
        (row["user_id"], item_ids[index], rating)
        for row in cleaned.ratings.collect()
        for index, rating in zip(row["item_index"], row["rating"], strict=True)
    )


def kept_items(cleaned: CleanRatings) -> dict[Any, int]:
    """item_id -> rating_count of the items that are left."""
    counts = cleaned.items.set_index("item_id")["rating_count"]
    return {item: count for item, count in counts.to_dict().items() if count}


LINES = [
    "1,10,4.0,100",
    "1,10,3.0,200",  # later: wins
    "1,20,2.0,100",
    "2,10,5.0,100",
    "2,20,1.0,",
    "2,20,1.5,",  # no time on either: the higher wins
    "3,30,4.0,100",  # the only rating of item 30, and of user 3
    "3,30,9.0,300",  # refused: must not displace the good one
]


@pytest.fixture(scope="module")
def lines_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("clean") / "r.csv", LINES)


def test_the_rules_keep_exactly_these_rows(spark: SparkSession, lines_file: Path) -> None:
    everything = clean(spark, lines_file)
    assert kept_rows(everything) == [
        (1, 10, 3.0),
        (1, 20, 2.0),
        (2, 10, 5.0),
        (2, 20, 1.5),
        (3, 30, 4.0),
    ]
    popular = clean(spark, lines_file, min_item_ratings=2)
    assert kept_rows(popular) == [(1, 10, 3.0), (1, 20, 2.0), (2, 10, 5.0), (2, 20, 1.5)]
    liked = clean(spark, lines_file, min_item_ratings=2, min_item_mean_rating=2)
    assert kept_rows(liked) == [(1, 10, 3.0), (2, 10, 5.0)]
    active = clean(spark, lines_file, min_user_ratings=2)
    assert kept_rows(active) == [(1, 10, 3.0), (1, 20, 2.0), (2, 10, 5.0), (2, 20, 1.5)]
    assert kept_items(active) == {10: 2, 20: 2}  # item 30 left with its only user


def test_the_funnel_says_what_each_rule_left(spark: SparkSession, lines_file: Path) -> None:
    cleaned = clean(
        spark, lines_file, min_item_ratings=2, min_item_mean_rating=2, min_user_ratings=1
    )
    steps = [(step.step, step.rows, step.users, step.items) for step in cleaned.funnel]
    assert steps == [
        ("input", 8, 3, 3),
        ("valid", 7, 3, 3),
        ("unique", 5, 3, 3),
        ("popular", 4, 2, 2),
        ("liked", 2, 2, 1),
        ("active", 2, 2, 1),
    ]


@pytest.mark.parametrize("unknown", [np.iinfo(np.int64).min, -np.inf])
def test_the_latest_rating_counts_and_then_the_highest(unknown: float) -> None:
    rows = [  # user, item, rating, time; whether it counts
        (0, "b", 2.0, 2**60, False),
        (0, "b", 1.0, 2**60 + 300, True),
        (0, "a", 4.0, unknown, False),
        (0, "a", 1.0, 5, True),
        (1, "b", 2.0, unknown, False),
        (1, "b", 3.0, unknown, True),
        (1, "a", 3.0, 7, True),
    ]
    user, item, rating, time, expected = map(list, zip(*rows, strict=True))
    for start in range(len(rows)):
        turned = np.roll(np.arange(len(rows)), start)
        order, counts = order_ratings(
            np.array(user, np.int32)[turned],
            pa.array([item[place] for place in turned]),
            np.array(rating)[turned],
            np.array(time)[turned],
        )
        places = turned[order]
        assert [(user[place], item[place]) for place in places] == sorted(
            zip(user, item, strict=True)
        )
        assert [expected[place] for place in places] == counts.tolist()


def test_users_are_counted_once_whatever_their_rows(spark: SparkSession, tmp_path: Path) -> None:
    of_many_pieces = [f"1,{item},4.0,0" for item in range(10_001)]
    lines = [*of_many_pieces, "2,1,9.0,0", "2,2,9.0,0", "3,1,9.0,0", "3,2,4.0,0"]
    rows = account(spark, write_csv(tmp_path / "r.csv", lines))
    assert (rows.n_users, rows.n_valid_users) == (3, 2)  # all rows of user 2 are refused
    assert rows.refused == {"rating outside 0.5 to 5": 3}


def test_one_more_item_rule_is_one_entry(
    spark: SparkSession, lines_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Funnel, excluded and messages follow the list of rules, however long it is."""
    mild = ItemRule(
        step="mild",
        setting="max_rating",
        keeps=lambda items, most: items["mean_rating"] < most - 1,
        rule="items with a mean rating 1 below {:g}",
        reason="mean rating near {:g}",
        lost="item with a mean rating near {:g}",
    )
    monkeypatch.setattr(cleaning_rules, "ITEM_RULES", (*ITEM_RULES, mild))
    cleaned = clean(spark, lines_file)
    assert kept_rows(cleaned) == [(1, 20, 2.0), (2, 20, 1.5)]
    assert cleaned.funnel[-3:] == [
        FunnelStep("liked", "items with a mean rating of at least 0", 5, 3, 3),
        FunnelStep("mild", "items with a mean rating 1 below 5", 2, 2, 1),
        FunnelStep("active", "users with at least 1 ratings", 2, 2, 1),
    ]
    excluded = {tuple(row) for row in cleaned.excluded.collect()}
    assert excluded >= {
        ("rows", None, "item with a mean rating near 5", 3),
        ("item", "10", "mean rating near 5", 2),
        ("item", "30", "mean rating near 5", 1),
        ("user", "3", "no rating of the items kept", 1),
    }
    with pytest.raises(InputError, match="after the rule 'items with a mean rating 1 below 2': 2 "):
        clean(spark, lines_file, max_rating=2)
    given = settle_rules(make_config(lines_file).clean, GivenItems(ItemIndex.from_ids([10]), "X"))
    assert given.item_steps[-1].rule == "clean.max_rating is not applied to X"


def test_what_is_left_out_is_listed_with_its_reason(spark: SparkSession, lines_file: Path) -> None:
    cleaned = clean(spark, lines_file, min_item_ratings=2, min_item_mean_rating=2)
    duplicates = ("rows", None, "duplicate: a later or higher rating of the same item counts", 2)
    refused = ("rows", None, "quarantined: rating outside 0.5 to 5", 1)
    assert sorted(map(tuple, cleaned.excluded.collect()), key=str) == [
        ("item", "20", "mean rating below 2", 2),
        ("item", "30", "fewer than 2 ratings", 1),
        duplicates,
        ("rows", None, "item with a mean rating below 2", 2),
        ("rows", None, "item with fewer than 2 ratings", 1),
        refused,
        ("user", "3", "no rating of the items kept", 1),
    ]
    few = clean(spark, lines_file, min_user_ratings=2).excluded.collect()
    assert sorted(map(tuple, few), key=str) == [
        ("item", "30", "no rating by the users kept", 1),
        duplicates,
        refused,
        ("rows", None, "user with fewer than 2 ratings of the items kept", 1),
        ("user", "3", "fewer than 2 ratings of the items kept", 1),
    ]


def test_who_has_no_valid_row_is_listed_as_quarantined(spark: SparkSession, tmp_path: Path) -> None:
    ratings = write_csv(tmp_path / "r.csv", ["1,10,4.0,1", "7,70,NaN,1", "7,10,x,1", "1,80,99,1"])
    excluded = clean(spark, ratings).excluded.where("kind <> 'rows'").collect()
    assert sorted(map(tuple, excluded)) == [
        ("item", "70", "quarantined", 0),
        ("item", "80", "quarantined", 0),
        ("user", "7", "quarantined", 0),
    ]


def test_users_left_out_keep_what_they_have_seen(spark: SparkSession, tmp_path: Path) -> None:
    lines = ["1,10,4.0,1", "1,20,4.0,1", "2,20,4.0,1", "3,5,4.0,1", "4,x,4.0,1"]
    cleaned = clean(spark, write_csv(tmp_path / "r.csv", lines), min_user_ratings=2)
    indexed = index_ratings(cleaned.ratings, cleaned.items)
    # Item 5 left with its only user, so items 10 and 20 are 0 and 1.
    assert indexed.index.item_ids.tolist() == [10, 20]
    left_out = {row["user_id"]: row["item_index"] for row in indexed.left_out.collect()}
    assert left_out == {2: [1], 3: [], 4: []}


def test_every_row_is_accounted_for(spark: SparkSession, lines_file: Path) -> None:
    rows = account(spark, lines_file)
    assert rows.refused == {"rating outside 0.5 to 5": 1}
    [bad] = rows.quarantine.collect()
    assert bad["raw"] == "3,30,9.0,300"
    users = {row["user_id"]: row for row in rows.frame.collect() if row["piece"] is not None}
    fates = {user: (row["items"], row["ratings"], row["duplicates"]) for user, row in users.items()}
    assert fates == {
        1: ([10, 20], [3.0, 2.0], [10]),
        2: ([10, 20], [5.0, 1.5], [20]),
        3: ([30], [4.0], []),
    }


def test_items_carry_their_counts_and_means(spark: SparkSession, lines_file: Path) -> None:
    items = clean(spark, lines_file).items
    assert items.to_dict("list") == {
        "item_id": [10, 20, 30],
        "rating_count": [2, 2, 1],
        "mean_rating": [4.0, 1.75, 4.0],
    }


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"min_rating": 4.9, "max_rating": 4.95}, "none of the 8 rows .* is valid: rating outside"),
        ({"min_item_ratings": 3}, "items with at least 3 ratings': 5 ratings, 3 users and 3 items"),
        ({"min_item_mean_rating": 5}, "items with a mean rating of at least 5"),
        ({"min_user_ratings": 3}, "users with at least 3 ratings"),
    ],
)
def test_rules_that_leave_nothing_are_named(
    spark: SparkSession, lines_file: Path, rules: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        clean(spark, lines_file, **rules)


def test_a_header_without_rows_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a header and no rows"):
        clean(spark, write_csv(tmp_path / "r.csv", []))


def test_the_ratings_are_shuffled_once(spark: SparkSession, lines_file: Path) -> None:
    cleaned = clean(spark, lines_file, min_item_ratings=2, min_user_ratings=2)
    plan = cleaned.ratings._jdf.queryExecution().executedPlan().toString()
    above_cache, _, below_cache = plan.partition("InMemoryRelation")
    executed, _, _ = below_cache.partition("== Initial Plan ==")
    assert executed.count("Exchange hashpartitioning") == 1
    assert "Exchange hashpartitioning(user_id" in executed
    assert "Exchange hashpartitioning" not in above_cache


def reference(frame: pd.DataFrame, rules: dict[str, int]) -> list[tuple[Any, ...]]:
    """The cleaning rules in pandas."""
    rows = frame[frame["rating"].between(0.5, 5)]
    rows = rows.sort_values(["timestamp", "rating"]).groupby(["user", "item"]).tail(1)
    by_item = rows.groupby("item")["rating"]
    rows = rows[by_item.transform("size") >= rules["min_item_ratings"]]
    rows = rows[rows.groupby("item")["rating"].transform("mean") >= rules["min_item_mean_rating"]]
    rows = rows[rows.groupby("user")["rating"].transform("size") >= rules["min_user_ratings"]]
    return sorted(rows[["user", "item", "rating"]].itertuples(index=False, name=None))


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_partitions=st.integers(1, 5),
    rules=st.fixed_dictionaries(
        {
            "min_item_ratings": st.integers(1, 6),
            "min_item_mean_rating": st.integers(0, 3),
            "min_user_ratings": st.integers(1, 6),
        }
    ),
)
def test_any_input_is_cleaned_as_by_pandas(
    spark: SparkSession, tmp_path: Path, seed: int, n_partitions: int, rules: dict[str, int]
) -> None:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "user": rng.integers(0, 25, 300),
            "item": rng.integers(0, 20, 300),
            "rating": rng.integers(0, 12, 300) / 2,
            "timestamp": rng.integers(0, 5, 300),
        }
    )
    path = write_csv(
        tmp_path / f"{seed}.csv", (",".join(map(str, row)) for row in frame.itertuples(index=False))
    )
    expected = reference(frame, rules)
    if not expected:
        with pytest.raises(InputError):
            clean(spark, path, n_partitions, **rules)
        return
    cleaned = clean(spark, path, n_partitions, **rules)
    assert kept_rows(cleaned) == expected
    first, last = cleaned.funnel[0], cleaned.funnel[-1]
    assert audit_excluded(cleaned.excluded, (first, last))["rows"] == 300 - len(expected)
    assert (last.rows, last.users, last.items) == (
        len(expected),
        len({row[0] for row in expected}),
        len({row[1] for row in expected}),
    )
    assert kept_items(cleaned) == pd.Series([row[1] for row in expected]).value_counts().to_dict()
