"""Nights that use the current run's model again, and those that score only whom they must."""

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from builders import STORAGES, make_config, write_csv
from click.testing import CliRunner
from nights import SampleNight
from pyspark.sql import SparkSession

from jobs.ask.published_tables import open_run
from jobs.ask.show_item import describe_item
from jobs.cli.main import main
from jobs.datasets.sample import write_sample
from jobs.errors import ConfigError, InputError
from jobs.input.read_ratings import read_ratings
from jobs.machine.plan import InputSize, ModelNeeds, bound_training, make_plan
from jobs.night.choices import Choices
from jobs.night.night import PublishedRun, plan_night, run_nightly
from jobs.night.reuse import (
    announce_reuse,
    load_current_model,
    require_item_ids,
    require_scored_users,
)
from jobs.ratings.clean import clean_ratings
from jobs.ratings.cleaning_rules import GivenItems
from jobs.ratings.gather import account_rows
from jobs.ratings.index import index_ratings
from jobs.runs.current import find_current
from jobs.runs.model_files import load_model
from jobs.settings.config import Config
from jobs.stages.audit.excluded import audit_excluded
from jobs.storage.local import LocalStorage
from recsys_core.items.index import ItemIndex
from recsys_core.models.registry import PartSizes

K, MIN_USER_RATINGS = 5, 3
REUSE, CHANGED_ONLY = Choices(reuse_model=True), Choices(reuse_model=True, changed_only=True)
GONE, CHANGED, FADING = 5, 6, 7  # the last one keeps too few ratings for the model
NEW, FALLBACK, RISING = 9_001, 8_001, 8_002  # the last two have too few at first
NEW_ITEM = 777


@dataclass(frozen=True)
class FirstNight:
    """A night that trained, and the data of the next."""

    data: Path
    next_data: Path
    output: Path
    run: PublishedRun
    unrated: int
    """An item of the model without ratings in the next data."""
    retitled: int


@dataclass(frozen=True)
class LoggedNight:
    """A night and its log."""

    run: PublishedRun
    log: list[str]


def configure(data: Path, output: Path, **sections: Any) -> Config:
    return make_config(
        data / "ratings.csv",
        output,
        **{
            "input": {"items": str(data / "movies.csv")},
            "clean": {"min_item_ratings": 3, "min_user_ratings": MIN_USER_RATINGS},
            "train": {"nmf": {"n_components": 6}},
            "score": {"k": K, "fallback": "popularity"},
            "cluster": {"n_clusters": 4},
            "publish": {"scored_users": True, "titles": True},
            **sections,
        },
    )


def make_first_data(data: Path) -> pd.DataFrame:
    write_sample(data, users=60, items=50, ratings=1_200, seed=3)
    ratings = pd.read_csv(data / "ratings.csv")
    popular = ratings["movieId"].value_counts().index[:3].tolist()
    few = [(FALLBACK, popular[0], 4.0, 1), (RISING, popular[0], 4.0, 1), (RISING, 1, 2.0, 1)]
    ratings = pd.concat([ratings, pd.DataFrame(few, columns=ratings.columns)])
    ratings.to_csv(data / "ratings.csv", index=False)
    return ratings


def make_second_data(data: Path, ratings: pd.DataFrame, first: Path) -> tuple[int, int]:
    """The next day's ratings and items; an item that has no rating left, and one of a new title."""
    items = pd.read_parquet(first / "item_clusters").sort_values("rating_count")
    unrated, rare, *_, loved = items["item_id"].tolist()
    data.mkdir()
    of = ratings["userId"]
    ratings = ratings[(of != GONE) & (ratings["movieId"] != unrated)]
    fading = ratings.index[ratings["userId"] == FADING][MIN_USER_RATINGS - 1 :]
    last_of_rare = ratings.index[ratings["movieId"] == rare][1:]  # below clean.min_item_ratings
    ratings = ratings.drop(fading.union(last_of_rare)).reset_index(drop=True)
    one = ratings.index[ratings["userId"] == CHANGED][0]
    ratings.loc[one, "rating"] = 5.5 - ratings.loc[one, "rating"]
    more = [(NEW, item, 5.0, 9) for item in (loved, rare, *items["item_id"].tolist()[20:24])]
    more += [(RISING, loved, 3.5, 9), (RISING, rare, 4.5, 9)]
    more += [(user, NEW_ITEM, 4.0, 9) for user in (NEW, 10, 11, 12)]
    ratings = pd.concat([ratings, pd.DataFrame(more, columns=ratings.columns)])
    ratings.drop_duplicates(["userId", "movieId"]).to_csv(data / "ratings.csv", index=False)
    titles = pd.read_csv(data.parent / "monday" / "movies.csv")
    titles.loc[titles["movieId"] == loved, "title"] = "Renamed (2026)"
    titles.to_csv(data / "movies.csv", index=False)
    return unrated, loved


@pytest.fixture(scope="module")
def first(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> FirstNight:
    root = tmp_path_factory.mktemp("reuse")
    monday, tuesday, output = root / "monday", root / "tuesday", root / "out"
    ratings = make_first_data(monday)
    run = run_nightly(spark, configure(monday, output), date(2026, 11, 21))
    unrated, retitled = make_second_data(tuesday, ratings, Path(run.directory))
    return FirstNight(monday, tuesday, output, run, unrated, retitled)


@pytest.fixture(scope="module")
def full(
    spark: SparkSession, first: FirstNight, tmp_path_factory: pytest.TempPathFactory
) -> LoggedNight:
    """The night after, with the model of the first; told to train and evaluate, it does neither."""
    output = tmp_path_factory.mktemp("full") / "out"
    shutil.copytree(first.output, output, symlinks=True)
    config = configure(
        first.next_data,
        output,
        train={"nmf": {"n_components": 7}},
        evaluate={"enabled": True},
        publish={"scored_users": True, "titles": True, "report": True},
    )
    return run_logged(spark, config, REUSE)


@pytest.fixture(scope="module")
def changed(spark: SparkSession, first: FirstNight) -> LoggedNight:
    """The same night, in which only those are scored whose ratings have changed."""
    return run_logged(spark, configure(first.next_data, first.output), CHANGED_ONLY)


@pytest.fixture(scope="module")
def rescored(spark: SparkSession, first: FirstNight, changed: LoggedNight) -> LoggedNight:
    """The night after ``changed``, on the same data, with longer lists."""
    longer = {"k": K + 1, "fallback": "popularity"}
    return run_logged(spark, configure(first.next_data, first.output, score=longer), CHANGED_ONLY)


def run_logged(spark: SparkSession, config: Config, choices: Choices) -> LoggedNight:
    """A night that could not train if it would."""
    with pytest.MonkeyPatch.context() as patch, capture_log() as log:
        patch.setattr("jobs.night.make_model.train_model", None)
        patch.setattr("jobs.night.make_model.collect_ratings", None)
        return LoggedNight(run_nightly(spark, config, date(2026, 11, 22), choices), log)


@contextlib.contextmanager
def capture_log() -> Iterator[list[str]]:
    """The lines of the log; pytest's own fixture for it lasts for one test."""
    lines: list[str] = []
    handler, level = logging.Handler(), logging.root.level
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logging.root.removeHandler(handler)
        logging.root.setLevel(level)


def read(run: PublishedRun, table: str) -> pd.DataFrame:
    return pd.read_parquet(Path(run.directory) / table)


def folded_in(run: PublishedRun, data: Path) -> dict[int, set[tuple[int, float]]]:
    """What each user is folded in from, worked out without the job's code."""
    ratings = pd.read_csv(data / "ratings.csv")
    known = ratings[ratings["movieId"].isin(read(run, "item_clusters")["item_id"])]
    pairs = {
        int(user): set(zip(rows["movieId"], rows["rating"], strict=True))
        for user, rows in known.groupby("userId")
    }
    return {user: rows for user, rows in pairs.items() if len(rows) >= MIN_USER_RATINGS}


# --- The model of the current run ---------------------------------------------------------------


def test_the_model_is_the_same_and_its_training_is_told_as_it_was(
    first: FirstNight, full: LoggedNight
) -> None:
    before, after = (load_model(Path(run.directory, "model")) for run in (first.run, full.run))
    for name, array in before.model.to_arrays().items():
        assert array.tobytes() == after.model.to_arrays()[name].tobytes()
    assert after.catalog.item_ids.tolist() == before.catalog.item_ids.tolist()
    training = first.run.run.run_id
    assert before.facts["reused_from"] is None
    assert after.facts == {**before.facts, "reused_from": training}
    assert full.run.manifest["training"] == after.facts
    assert not {"collect", "evaluate", "train"} & set(full.run.manifest["stage_seconds"])
    assert full.run.manifest["evaluation"] is None
    assert f"the model of run {training} is used again: train.* and evaluate.* are not" in full.log
    warning = "other settings than are configured: train.nmf.n_components = 7, it has 6"
    assert any(warning in line for line in full.log)


def test_everyone_is_served_and_what_is_left_out_has_its_reason(
    first: FirstNight, full: LoggedNight
) -> None:
    manifest, lists = full.run.manifest, read(full.run, "recommendations")
    by_source = lists.groupby("source")["user_id"].agg(set)
    assert by_source["model"] == set(folded_in(first.run, first.next_data))
    assert NEW in by_source["model"]
    assert by_source["popularity"] == {FALLBACK, FADING}
    reason = f"not an item of the model of run {first.run.run.run_id}"
    excluded = read(full.run, "excluded")
    strange = excluded[excluded["reason"] == reason].set_index("kind")
    item = strange.loc["item"]
    assert (item["id"], item["rating_count"]) == (str(NEW_ITEM), 4)
    assert strange.loc["rows", "rating_count"] == 4
    steps = {step["step"]: step for step in manifest["funnel"]}
    assert "items of the model of run" in steps["popular"]["rule"]
    assert "is not applied" in steps["liked"]["rule"]
    assert steps["input"]["items"] == steps["active"]["items"] + manifest["excluded"]["item"]
    assert manifest["excluded"]["item"] == (excluded["kind"] == "item").sum()


def test_items_without_ratings_stay_and_labels_are_the_same(
    first: FirstNight, full: LoggedNight
) -> None:
    before, after = (
        read(run, "item_clusters").set_index("item_id") for run in (first.run, full.run)
    )
    assert after["cluster"].to_dict() == before["cluster"].to_dict()
    assert after["distance"].to_dict() == before["distance"].to_dict()
    unrated = after.loc[first.unrated]
    assert unrated["rating_count"] == 0
    assert np.isnan(unrated["mean_rating"])
    assert (after["rating_count"] < 3).sum() > 1  # clean.min_item_ratings is not applied anew
    assert after.loc[first.retitled, "title"] == "Renamed (2026)"
    assert full.run.manifest["clusters"]["stability"]["moved_items"] == 0
    values = {check["bound"]: check["value"] for check in full.run.manifest["gate"]["checks"]}
    n_listed = read(full.run, "recommendations")["item_id"].nunique()
    assert values["min_item_coverage"] == round(n_listed / len(after), 6)
    shown = [*describe_item(open_run(Path(full.run.directory)), str(first.unrated))]
    assert "0 ratings" in shown
    assert full.run.manifest["report"] is not None


# --- Only those whose ratings have changed ------------------------------------------------------


def test_only_those_who_changed_are_scored_and_the_rows_are_those_of_a_full_night(
    first: FirstNight, full: LoggedNight, changed: LoggedNight
) -> None:
    before = folded_in(first.run, first.data)
    now = folded_in(first.run, first.next_data)
    kept = {user for user in now if now[user] == before.get(user)}
    assert {NEW, CHANGED, RISING} <= now.keys() - kept
    assert {GONE, FADING} <= before.keys() - now.keys()
    assert changed.run.manifest["incremental"] == {
        "reused_from": first.run.run.run_id,
        "scored_users": len(now) - len(kept),
        "kept_users": len(kept),
    }
    assert len(kept) > len(now) / 2
    assert full.run.manifest["incremental"] is None
    hashes = {run.manifest["audit"]["content_hash"] for run in (full.run, changed.run)}
    assert len(hashes) == 1
    lists = read(changed.run, "recommendations")
    assert GONE not in set(lists["user_id"])
    renamed = lists.loc[lists["item_id"] == first.retitled, ["user_id", "title"]]
    assert kept & set(renamed["user_id"])
    assert set(renamed["title"]) == {"Renamed (2026)"}
    counts = read(changed.run, "item_clusters").set_index("item_id")["rating_count"]
    popular = lists[lists["source"] == "popularity"]
    assert popular["score"].tolist() == counts[popular["item_id"]].tolist()


def test_kept_rows_lie_as_others_do(full: LoggedNight, changed: LoggedNight) -> None:
    directory = Path(changed.run.directory)
    seen: set[int] = set()
    for file in (directory / "recommendations").glob("*.parquet"):
        rows = pq.read_table(file, columns=["user_id", "rank"]).to_pandas()
        pairs = list(rows.itertuples(index=False, name=None))
        assert pairs == sorted(pairs)
        users = set(rows["user_id"])
        assert not users & seen
        seen |= users
    count = len(list((directory / "recommendations").glob("*.parquet")))
    assert count <= len(list((Path(full.run.directory) / "recommendations").glob("*.parquet")))


def test_every_run_says_from_what_it_scored(
    first: FirstNight, full: LoggedNight, changed: LoggedNight
) -> None:
    now = folded_in(first.run, first.next_data)
    tables = [read(run, "scored_users") for run in (full.run, changed.run)]
    pd.testing.assert_frame_equal(
        *[table.sort_values("user_id", ignore_index=True) for table in tables]
    )
    counts = tables[0].set_index("user_id")["rating_count"].to_dict()
    assert counts == {user: len(rows) for user, rows in now.items()}
    assert full.run.manifest["rows"]["scored_users"] == len(now)


def test_other_settings_of_lists_score_everyone(
    first: FirstNight, changed: LoggedNight, rescored: LoggedNight
) -> None:
    now = folded_in(first.run, first.next_data)
    assert rescored.run.manifest["incremental"] == {
        "reused_from": changed.run.run.run_id,
        "scored_users": len(now),
        "kept_users": 0,
    }
    # The model is still known by the run that trained it.
    assert rescored.run.manifest["training"] == changed.run.manifest["training"]
    assert any(
        "everyone is scored anew" in line and line.endswith("settings of score.* have changed")
        for line in rescored.log
    )
    assert read(rescored.run, "recommendations")["rank"].max() == K + 1


# --- What cannot be -----------------------------------------------------------------------------


def test_without_a_current_run_there_is_no_model(spark: SparkSession, tmp_path: Path) -> None:
    config = make_config(tmp_path / "not looked at.csv", tmp_path / "out")
    for act in (
        lambda: run_nightly(spark, config, date(2026, 11, 21), REUSE),
        lambda: plan_night(spark, config, REUSE),
    ):
        with pytest.raises(
            ConfigError, match=r"--reuse-model: no run is current in .*out; run once"
        ):
            act()


@pytest.mark.parametrize("kind", sorted(STORAGES))
def test_a_damaged_model_is_not_used(
    spark: SparkSession, sample_night: SampleNight, tmp_path: Path, kind: str
) -> None:
    output = tmp_path / "out"
    shutil.copytree(sample_night.output, output, symlinks=True)
    storage, run = STORAGES[kind](spark, output), (output / "current").resolve()
    config = make_config("not looked at", storage.root)
    if kind == "hadoop":  # where there are no links
        (output / "current").unlink()
    whole = load_current_model(storage)
    assert whole.trained_in == whole.record.run_id == sample_night.manifest["run_id"]
    for check in (require_scored_users, lambda *_: plan_night(spark, config, CHANGED_ONLY)):
        with pytest.raises(ConfigError, match=r"no table 'scored_users'; .*scored_users = true"):
            check(storage, whole.record.run)
    arrays = run / "model" / "model.safetensors"
    data = arrays.read_bytes()
    arrays.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match=r"model\.safetensors is damaged: .*; run without --reuse"):
        load_current_model(storage)
    arrays.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing; run without"):
        load_current_model(storage)
    manifest = run / "manifest.json"
    text = json.loads(manifest.read_text())
    del text["model_sha256"]
    for content in (json.dumps(text), "{"):
        manifest.write_text(content)
        with pytest.raises(InputError, match="manifest") as error:
            load_current_model(storage)
        assert "\n" not in str(error.value)


def test_ids_of_another_type_are_not_those_of_the_model(sample_night: SampleNight) -> None:
    reused = load_current_model(LocalStorage(sample_night.output))
    require_item_ids(reused, "integer")
    with pytest.raises(InputError, match="type string in the input and integer in the model"):
        require_item_ids(reused, "string")


def test_a_model_that_would_not_be_trained_today_is_named(
    sample_night: SampleNight, caplog: pytest.LogCaptureFixture
) -> None:
    reused = load_current_model(LocalStorage(sample_night.output))
    with caplog.at_level(logging.WARNING):
        announce_reuse(reused, make_config("unused").train)
    assert not caplog.records  # the settings it was trained with
    with caplog.at_level(logging.WARNING):
        announce_reuse(reused, make_config("unused", train={"model": "als"}).train)
    assert "train.model = 'als', it is 'nmf'" in caplog.text


@pytest.mark.parametrize("command", ["check", "nightly"])
def test_changed_only_needs_a_model_to_reuse(command: str) -> None:
    done = CliRunner().invoke(main, [command, "--changed-only"])
    assert done.exit_code == 2
    assert "error: --changed-only needs --reuse-model" in done.output


# --- The parts ----------------------------------------------------------------------------------


def test_given_items_are_kept_whatever_their_ratings(spark: SparkSession, tmp_path: Path) -> None:
    lines = [
        *(f"{user},{item},4.0,1" for user in (1, 2) for item in (10, 30)),
        "1,20,1.0,1",  # disliked and rare, but of the model
        "3,40,5.0,1",  # by a user who has too few ratings: of the model, and in the input
        "2,50,9.0,1",  # refused: nothing of item 50 came in
        "2,60,5.0,1",  # and not of the model, as is 30
    ]
    config = make_config(
        write_csv(tmp_path / "r.csv", lines),
        clean={"min_item_ratings": 2, "min_item_mean_rating": 3, "min_user_ratings": 2},
    )
    index = ItemIndex.from_ids([5, 10, 20, 40, 50, 70])
    account = account_rows(read_ratings(spark, config.input, config.clean).rows, 2)
    cleaned = clean_ratings(account, config.clean, GivenItems(index, "the model of run X"))
    indexed = index_ratings(cleaned.ratings, cleaned.items, index)
    assert indexed.index is index
    assert indexed.items["item_id"].tolist() == index.item_ids.tolist()
    assert indexed.items["rating_count"].tolist() == [0, 1, 1, 0, 0, 0]
    assert indexed.items["mean_rating"].round(3).fillna(-1).tolist() == [-1, 4, 1, -1, -1, -1]
    rows = {row["user_id"]: row["item_index"] for row in indexed.frame.collect()}
    assert rows == {1: [1, 2]}
    seen = {row["user_id"]: row["item_index"] for row in indexed.left_out.collect()}
    assert seen == {2: [1], 3: [3]}
    dropped = cleaned.excluded_items.set_index("item_id")["reason"].to_dict()
    strange = "not an item of the model of run X"
    assert dropped == {30: strange, 60: strange, 50: "quarantined"}
    funnel = {step.step: (step.rows, step.items) for step in cleaned.funnel}
    assert funnel["input"] == (8, 6)
    assert funnel["popular"] == funnel["liked"] == (4, 3)
    assert funnel["active"] == (2, 3)
    audit_excluded(cleaned.excluded, (cleaned.funnel[0], cleaned.funnel[-1]))


def test_the_plan_of_a_night_that_trains_nothing(
    spark: SparkSession, sample_night: SampleNight, capsys: pytest.CaptureFixture[str]
) -> None:
    size, config = InputSize(20_000_000, 200_000, 20_000), make_config("unused")
    trained, reused = (
        make_plan(size, model, config.rules, k=config.score.k, n_partitions=8)
        for model in (
            bound_training(size, config.train, evaluates=False),
            ModelNeeds(PartSizes(64)),
        )
    )
    assert (reused.trained_ratings, reused.collected) == (0, 0)
    assert reused.driver < trained.driver
    assert reused.broadcast == 20_000 * (4 * 64 + 16)
    plan_night(spark, make_config(sample_night.data / "ratings.csv", sample_night.output), REUSE)
    printed = capsys.readouterr().out
    assert "of the model" in printed
    assert "in training" not in printed
    current = find_current(LocalStorage(sample_night.output))
    assert current is not None
    assert current.run_id == sample_night.manifest["run_id"]
