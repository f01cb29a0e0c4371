from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import make_config, write_csv
from core_examples import make_nmf
from pyspark.sql import DataFrame, SparkSession
from scipy.sparse import csr_matrix

from jobs.datasets.sample import write_sample
from jobs.errors import AuditError, ConfigError, InputError
from jobs.input.read_list_rules import RuleInput, read_item_set, read_rules
from jobs.input.read_ratings import read_ratings
from jobs.night.night import PublishedRun, run_nightly
from jobs.ratings.clean import clean_ratings
from jobs.ratings.collect import collect_ratings
from jobs.ratings.gather import account_rows
from jobs.ratings.index import index_ratings
from jobs.runs.model_files import load_model
from jobs.settings.lists import RulesConfig
from jobs.stages.audit.recommendations import audit_recommendations
from jobs.stages.list_rules import find_allowed
from jobs.stages.score import observe_effects, read_effects, score_users
from jobs.tables.columns import USER_ID
from recsys_core.items.catalog import ItemCatalog
from recsys_core.items.index import ItemIndex
from recsys_core.ranking.list_rules import ListRules, group_items
from recsys_core.ranking.list_rules_kernels import EFFECTS
from recsys_core.ranking.ruled_lists import RuledScorer

NIGHT = date(2026, 11, 21)
K, N_ITEMS = 6, 90
GENRE_CAPS = {"Comedy": 1, "Horror": 2}
MIN_SCORE = 0.5
CLUSTER_CAP = 2


@dataclass(frozen=True)
class RuledNight:
    """A night under rules, and its input."""

    ratings: pd.DataFrame
    blocked: list[int]
    done: PublishedRun

    def read(self, table: str) -> pd.DataFrame:
        return pd.read_parquet(Path(self.done.directory) / table)


@pytest.fixture(scope="module")
def night(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> RuledNight:
    directory = tmp_path_factory.mktemp("ruled")
    write_sample(directory, users=100, items=N_ITEMS, ratings=3_000, seed=5)
    ratings = pd.read_csv(directory / "ratings.csv")
    popular = ratings["movieId"].value_counts().index
    blocked = sorted(popular[:4].tolist())
    # Items 10 to 12 most popular are known only by users who are left out: they are on fallback.
    newcomers = [f"{10_000 + at},{popular[10 + at]},4.0,{at}" for at in range(3)]
    with (directory / "ratings.csv").open("a") as file:
        file.write("\n".join(newcomers) + "\n")
    write_csv(directory / "block.csv", [str(item) for item in [*blocked, 999_999]], "movieId")
    config = make_config(
        directory / "ratings.csv",
        directory / "out",
        input={"items": str(directory / "movies.csv")},
        clean={"min_user_ratings": 2},
        score={"k": K, "fallback": "popularity"},
        cluster={"n_clusters": 4},
        rules={
            "block": str(directory / "block.csv"),
            "min_score": MIN_SCORE,
            "genre_caps": GENRE_CAPS,
            "max_cluster_share": 0.4,
        },
    )
    done = run_nightly(spark, config, NIGHT)
    return RuledNight(pd.read_csv(directory / "ratings.csv"), blocked, done)


def walk(items: pd.DataFrame, candidates: Sequence[int]) -> list[int]:
    """The first K of the candidates that the caps of the night allow."""
    genres = dict(zip(items["item_id"], items["genres"].str.split("|"), strict=True))
    cluster = dict(zip(items["item_id"], items["cluster"], strict=True))
    chosen: list[int] = []
    for item in candidates:
        caps_full = any(
            sum(genre in genres[other] for other in chosen) >= GENRE_CAPS[genre]
            for genre in genres[item]
            if genre in GENRE_CAPS
        )
        of_cluster = sum(cluster[other] == cluster[item] for other in chosen)
        if len(chosen) < K and not caps_full and of_cluster < CLUSTER_CAP:
            chosen.append(item)
    return chosen


def test_published_lists_are_those_of_a_walk_by_hand(night: RuledNight) -> None:
    lists, items = night.read("recommendations"), night.read("item_clusters")
    saved = load_model(Path(night.done.directory) / "model")
    item_ids = items["item_id"].to_numpy()
    n_empty = n_lists = 0
    for user, rows in night.ratings.groupby("userId"):
        mine = lists[lists["user_id"] == user].sort_values("rank")
        if user >= 10_000:
            assert set(mine["source"]) == {"popularity"}
            ordered = items.sort_values(["rating_count", "item_id"], ascending=[False, True])
            order = ordered["item_id"].tolist()
        else:
            known = pd.Series(0.0, item_ids)
            known[rows["movieId"].to_numpy()] = rows["rating"].to_numpy()
            row = csr_matrix(known.to_numpy(dtype=np.float32)[None, :])
            scores = saved.model.item_factors @ saved.model.fold_in(row)[0]
            order = [int(item_ids[at]) for at in np.argsort(-scores, kind="stable")]
            order = [item for item in order if scores[np.searchsorted(item_ids, item)] >= MIN_SCORE]
            assert (mine["score"].astype("float64") >= MIN_SCORE).all()
        seen = set(rows["movieId"])
        expected = walk(items, [i for i in order if i not in seen and i not in night.blocked])
        assert mine["item_id"].tolist() == expected
        n_empty += K - len(expected)
        n_lists += bool(expected)
    rules = night.done.manifest["rules"]
    assert rules["empty_places"] == n_empty
    assert night.done.manifest["audit"]["users"] == n_lists


def test_the_manifest_counts_what_the_rules_did(night: RuledNight) -> None:
    manifest = night.done.manifest
    rules = manifest["rules"]
    assert rules["allowed_items"] == N_ITEMS - len(night.blocked)
    assert (rules["allow_ids"], rules["block_ids"]) == (None, len(night.blocked) + 1)
    for name in ("items_over_genre_cap", "items_over_cluster_cap", "lists_cut_by_score"):
        assert rules[name] > 0, name
    assert rules["lists_made_diverse"] == 0, rules
    assert {Path(file["path"]).name for file in manifest["input_files"]} >= {"block.csv"}
    short = manifest["audit"]["users_with_short_list"]
    lengths = night.read("recommendations").groupby("user_id").size()
    assert short == manifest["funnel"][0]["users"] - (lengths == K).sum()


def test_blocked_items_are_nobodys_neighbours(night: RuledNight) -> None:
    similar = night.read("similar_items")
    assert not similar["similar_item_id"].isin(night.blocked).any()
    assert similar["item_id"].isin(night.blocked).any()  # what is like a blocked item is still told
    assert (similar.groupby("item_id").size() == 10).all()


def test_diversity_is_applied_where_users_are_scored(spark: SparkSession, tmp_path: Path) -> None:
    write_sample(tmp_path, users=80, items=N_ITEMS, ratings=2_000, seed=3)
    config = make_config(tmp_path / "ratings.csv")
    rows = read_ratings(spark, config.input, config.clean).rows
    cleaned = clean_ratings(account_rows(rows, 3), config.clean)
    indexed = index_ratings(cleaned.ratings, cleaned.items)
    model, ids = make_nmf(N_ITEMS, 5), indexed.index.item_ids
    rules = ListRules(
        group_items([None] * N_ITEMS, {}, np.zeros(N_ITEMS, np.int32), None),
        diversity=0.4,
        pool=20,
        embeddings=model.item_embeddings,
    )
    lists, observed = observe_effects(score_users(indexed.frame, model, ids, K, rules))
    lists.write.parquet(str(tmp_path / "lists"))
    matrix = collect_ratings(indexed.frame, N_ITEMS).matrix
    ranked, effects = RuledScorer(model, K, rules).rank(model.fold(matrix))
    written = pd.read_parquet(tmp_path / "lists").sort_values([USER_ID, "rank"])
    assert written["item_id"].tolist() == ids[ranked.item_index].tolist()
    assert "effects" not in written.columns
    assert read_effects(observed) == dict(zip(EFFECTS, effects.tolist(), strict=True))
    assert effects[EFFECTS.index("lists_made_diverse")] > 0


# --- The audit ----------------------------------------------------------------------------------

Row = tuple[int, int, int, float]
ITEM_IDS = np.array([10, 20, 30, 40, 50])
RATED = [(1, [0]), (2, [1])]
GOOD: list[Row] = [(1, 1, 20, 0.9), (1, 2, 40, 0.5), (2, 1, 10, 0.7), (2, 2, 40, 0.7)]
RULES = ListRules(
    group_items(["A", "A", "A", "B", "B"], {"A": 1}, np.zeros(5, np.int32), None),
    allowed=np.array([0, 1, 2, 3], np.int32),
    min_score=0.5,
)


def audit(
    spark: SparkSession,
    rows: list[Row],
    rules: ListRules = RULES,
    **effects: int,
) -> Any:
    schema = "user_id bigint, rank int, item_id bigint, score float, source string"
    lists = spark.createDataFrame([(*row, "model") for row in rows], schema)
    rated: DataFrame = spark.createDataFrame(RATED, "user_id bigint, item_index array<int>")
    told = {"empty_places": 0, "empty_lists": 0, **effects}
    return audit_recommendations(
        lists, rated, ITEM_IDS, k=2, n_partitions=1, rules=rules, effects=told
    )


def test_the_audit_holds_lists_to_the_rules(spark: SparkSession) -> None:
    assert audit(spark, GOOD).users_with_short_list == 0
    with pytest.raises(AuditError, match=r"1 recommended items that rules\.allow or"):
        audit(spark, [*GOOD[:3], (2, 2, 50, 0.7)])
    with pytest.raises(AuditError, match="1 lists with more of a genre or cluster"):
        audit(spark, [*GOOD[:3], (2, 2, 30, 0.7)])
    with pytest.raises(AuditError, match=r"1 scores below rules\.min_score"):
        audit(spark, [*GOOD[:3], (2, 2, 40, 0.4)])


def test_the_audit_knows_how_many_rows_the_rules_left(spark: SparkSession) -> None:
    assert audit(spark, GOOD[:3], empty_places=1).users_with_short_list == 1
    with pytest.raises(AuditError, match="1 rows missing"):
        audit(spark, GOOD[:3])
    with pytest.raises(AuditError, match="1 rows too many"):
        audit(spark, GOOD, empty_places=1)
    whole = audit(spark, GOOD[:2], empty_places=2, empty_lists=1)
    assert (whole.users_without_list, whole.users_with_short_list) == (1, 1)


def test_the_audit_counts_what_was_allowed_and_seen(spark: SparkSession) -> None:
    # Of two allowed items user 2 has rated one, and user 1, who has rated another item, none.
    few = ListRules(RULES.groups, allowed=np.array([1, 3], np.int32))
    audit(spark, [(1, 1, 20, 0.9), (1, 2, 40, 0.8), (2, 1, 40, 0.9)], few)


def test_only_diversity_lets_scores_rise(spark: SparkSession) -> None:
    rising = [(1, 1, 20, 0.5), (1, 2, 40, 0.9), *GOOD[2:]]
    with pytest.raises(AuditError, match="1 users whose scores rise"):
        audit(spark, rising)
    audit(spark, rising, ListRules(RULES.groups, diversity=0.1, pool=2))


# --- What the rules name ------------------------------------------------------------------------


def make_catalogue(item_ids: list[Any]) -> ItemCatalog:
    nothing = [None] * len(item_ids)
    zeros = np.zeros(len(item_ids))
    return ItemCatalog(ItemIndex.from_ids(item_ids), nothing, nothing, zeros.astype(int), zeros)


@pytest.mark.parametrize(
    ("named", "allowed"),
    [
        (RuleInput(), None),
        (RuleInput(allow=[30, 10, 7]), [0, 2]),
        (RuleInput(block=[20, 7]), [0, 2, 3]),
        (RuleInput(allow=[10, 20], block=[20]), [0]),
    ],
    ids=str,
)
def test_allowed_items_are_the_allow_list_less_the_block_list(
    named: RuleInput, allowed: list[int] | None
) -> None:
    found = find_allowed(named, make_catalogue([10, 20, 30, 40]))
    assert (None if found is None else found.tolist()) == allowed


@pytest.mark.parametrize("named", [RuleInput(allow=[]), RuleInput(allow=[7]), RuleInput([1], [1])])
def test_rules_that_leave_nothing_end_the_run(named: RuleInput) -> None:
    with pytest.raises(InputError, match="leave none of the 2 items to recommend"):
        find_allowed(named, make_catalogue([1, 2]))


def test_ids_come_from_files_of_any_kind(spark: SparkSession, tmp_path: Path) -> None:
    config = make_config("unused").input
    block = write_csv(tmp_path / "block.csv", ["3,x", "1,y", "3,z"], "movieId,why")
    pd.DataFrame({"movieId": [5, 4]}).to_parquet(tmp_path / "block.parquet")
    assert read_item_set(spark, config, str(block), "rules.block", "integer")[0] == [1, 3]
    assert read_item_set(spark, config, str(block), "rules.block", "string")[0] == ["1", "3"]
    ids, files = read_item_set(spark, config, str(tmp_path / "block.*"), "rules.block", "integer")
    assert (ids, len(files)) == ([1, 3, 4, 5], 2)
    assert read_item_set(spark, config, [2, 1, 2], "rules.block", "integer") == ([1, 2], [])


def test_half_a_list_of_ids_is_no_rule(spark: SparkSession, tmp_path: Path) -> None:
    config = make_config("unused").input
    broken = write_csv(tmp_path / "broken.csv", ["3", "seven", ""], "movieId")
    with pytest.raises(InputError, match=r"rules\.block = '.*broken\.csv': 1 of 2 rows have no"):
        read_item_set(spark, config, str(broken), "rules.block", "integer")
    with pytest.raises(InputError, match=r"rules\.allow = '.*gone\.csv': no such file"):
        read_item_set(spark, config, str(tmp_path / "gone.csv"), "rules.allow", "integer")
    other = write_csv(tmp_path / "other.csv", ["3"], "item")
    with pytest.raises(InputError, match="movieId"):
        read_item_set(spark, config, str(other), "rules.allow", "integer")
    with pytest.raises(ConfigError, match=r"rules\.block = .*'x'.*: item ids are integers"):
        read_item_set(spark, config, ["x"], "rules.block", "integer")
    with pytest.raises(ConfigError, match="item ids are text"):
        read_item_set(spark, config, [1], "rules.block", "string")


def test_a_capped_genre_must_be_one(spark: SparkSession) -> None:
    config = make_config("unused").input
    genres = ["Drama|Horror", None, "Comedy"]

    def read(caps: dict[str, int], genres: list[str | None]) -> RuleInput:
        return read_rules(spark, config, RulesConfig(genre_caps=caps), genres, "integer")

    assert read({"Horror": 1, "*": 3}, genres) == RuleInput()
    with pytest.raises(ConfigError, match=r"'Horor'; did you mean 'Horror'\? there are: Comedy, D"):
        read({"Horor": 1}, genres)
    with pytest.raises(ConfigError, match="but no item has genres"):
        read({"*": 1}, [None])
