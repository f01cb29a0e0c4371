"""What becomes of a finished run: gate, backfill, force, retention; small whole nights."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import checkerboard, make_config, write_csv
from pyspark.sql import SparkSession

from jobs.errors import GateError, InputError, LockedError
from jobs.night.choices import Choices
from jobs.night.night import run_nightly
from jobs.night.release import PublishedRun
from jobs.runs.lock import hold_output
from jobs.runs.records import list_runs
from jobs.storage.local import LocalStorage

DAY = date(2026, 11, 21)
SMALL = {"train": {"nmf": {"n_components": 2}}, "cluster": {"n_clusters": 2}, "score": {"k": 2}}


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("ratings") / "r.csv", checkerboard())


def night(
    spark: SparkSession,
    ratings: Path,
    output: Path,
    day: date = DAY,
    choices: Choices | None = None,
    **sections: Any,
) -> PublishedRun:
    config = make_config(ratings, output, **{**SMALL, **sections})
    return run_nightly(spark, config, day, choices or Choices())


def current_id(output: Path) -> str:
    pointer = json.loads((output / "CURRENT.json").read_text())
    assert (output / "current").resolve() == (output / pointer["path"]).resolve()
    return str(pointer["run_id"])


def read_status(output: Path) -> dict[str, Any]:
    return dict(json.loads((output / "status.json").read_text()))


def read_rows(directory: Path) -> pd.DataFrame:
    rows = pd.read_parquet(directory / "recommendations")
    return rows.sort_values(["user_id", "rank"], ignore_index=True)


def test_the_gate_rejects_keeps_and_can_be_overruled(
    spark: SparkSession, ratings: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    first = night(spark, ratings, output)
    assert first.manifest["gate"]["passed"]
    strict = {"gate": {"max_top_item_share": 0.0}}
    with pytest.raises(GateError, match=r"gate\.max_top_item_share = 0, the run has 0\.\d+"):
        night(spark, ratings, output, **strict)
    assert current_id(output) == first.run.run_id
    rejected = list_runs(LocalStorage(output))[0]
    assert (rejected.state, rejected.is_current) == ("rejected", False)
    assert rejected.manifest["gate"] == {
        **rejected.manifest["gate"],
        "passed": False,
        "forced": False,
        "compared_with": first.run.run_id,
    }
    assert len(read_rows(output / "runs" / rejected.run_id)) == 24  # whole, to be looked at
    status = read_status(output)
    assert (status["state"], status["exit_code"]) == ("rejected", 5)
    assert status["run_id"] == rejected.run_id
    assert "max_top_item_share" in status["message"]

    keep_one = {"publish": {"keep_runs": 1, "keep_hours": 0.0}}
    forced = night(spark, ratings, output, choices=Choices(force=True), **strict, **keep_one)
    assert current_id(output) == forced.run.run_id
    assert forced.manifest["gate"]["forced"]
    assert forced.manifest["state"] == "published"
    assert read_status(output)["state"] == "published"
    checks = {check["bound"]: check for check in forced.manifest["gate"]["checks"]}
    assert checks["min_overlap"]["value"] == 1.0
    # The run before has gone; the last of the rejected ones may be looked at still.
    assert {path.name for path in (output / "runs").iterdir()} == {
        rejected.run_id,
        forced.run.run_id,
    }


def test_a_drop_of_the_input_and_lists_that_all_changed_are_noticed(
    spark: SparkSession, ratings: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    night(spark, ratings, output)
    lines = checkerboard()
    few = write_csv(tmp_path / "few.csv", lines[: len(lines) * 3 // 4])
    with pytest.raises(GateError, match=r"gate\.max_input_drop = 0\.2, the run has 0\.25"):
        night(spark, few, output)
    # The same ratings of the other half of the items: nobody's list stays.
    swapped = [",".join([u, str(100 + int(i)), r, t]) for u, i, r, t in map(split, lines)]
    with pytest.raises(GateError, match=r"gate\.min_overlap = 0\.05, the run has 0$|has 0;"):
        night(spark, write_csv(tmp_path / "swapped.csv", swapped), output)


def split(line: str) -> list[str]:
    return line.split(",")


def test_a_backfill_moves_current_only_when_told(
    spark: SparkSession, ratings: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    today = night(spark, ratings, output)
    # Not compared with the later run, whose bounds it would fail.
    past = night(
        spark, ratings, output, DAY - timedelta(days=3), gate={"min_overlap": 1.0}, score={"k": 1}
    )
    assert not past.is_current
    assert past.manifest["state"] == "published"
    assert past.manifest["gate"]["compared_with"] is None
    assert current_id(output) == today.run.run_id
    promoted = night(spark, ratings, output, DAY - timedelta(days=1), Choices(promote=True))
    assert promoted.is_current
    assert current_id(output) == promoted.run.run_id
    # The same date twice gives the same rows.
    again = night(spark, ratings, output)
    assert again.manifest["audit"]["content_hash"] == today.manifest["audit"]["content_hash"]
    pd.testing.assert_frame_equal(
        read_rows(output / "runs" / again.run.run_id), read_rows(output / "runs" / today.run.run_id)
    )
    assert (
        past.manifest["audit"]["content_hash"] != again.manifest["audit"]["content_hash"]
    )  # k = 1


def test_the_second_of_two_runs_ends_at_once(
    spark: SparkSession, ratings: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    storage = LocalStorage(output)
    storage.check_writable()
    with (
        hold_output(storage, "2026-11-21-tonight"),
        pytest.raises(LockedError, match="run 2026-11-21-tonight") as error,
    ):
        night(spark, tmp_path / "not even looked at.csv", output)
    assert error.value.exit_code == 6
    assert not (output / "status.json").exists()  # it is the holder's
    states = [json.loads(file.read_text())["state"] for file in (output / "status").iterdir()]
    assert states == ["locked"]


def test_too_many_bad_rows_stop_the_run_before_training(
    spark: SparkSession, tmp_path: Path
) -> None:
    lines = [*checkerboard(), *["1,1,NaN,5"] * 4]
    ratings, output = write_csv(tmp_path / "r.csv", lines), tmp_path / "out"
    expected = rf"4 of {len(lines)} input rows are quarantined \(7\.\d%\), more than "
    with pytest.raises(InputError, match=expected + r"clean\.max_bad_fraction = 0\.05"):
        night(spark, ratings, output)
    assert not (output / "runs").exists()
    kept = [pd.read_parquet(place) for place in (output / "quarantine").iterdir()]
    assert [list(rows["raw"]) for rows in kept] == [["1,1,NaN,5"] * 4]
    allowed = {"clean": {"max_bad_fraction": 0.1}, "gate": {"max_quarantined": 0.1}}
    done = night(spark, ratings, output, **allowed)
    assert done.manifest["quarantined"] == {"rating is NaN": 4}


LEFT_OUT = [
    "900,0,4.0,1",  # too few ratings, of a kept item
    "901,77,4.0,1",  # of an item that nobody else rated
    "902,0,nonsense,1",  # none that is valid
    "1,1,3.0,0",  # earlier than the user's own rating of that item, or another item
]


def test_everyone_left_out_is_accounted_for_and_served(spark: SparkSession, tmp_path: Path) -> None:
    lines = [*checkerboard(), *LEFT_OUT]
    done = night(
        spark,
        write_csv(tmp_path / "r.csv", lines),
        tmp_path / "out",
        clean={"min_user_ratings": 2, "min_item_ratings": 2},
        score={"k": 3, "fallback": "popularity"},
    )
    current = tmp_path / "out" / "current"
    excluded = pd.read_parquet(current / "excluded")
    users = excluded[excluded["kind"] == "user"].set_index("id")["reason"].to_dict()
    assert users == {
        "900": "fewer than 2 ratings of the items kept",
        "901": "no rating of the items kept",
        "902": "quarantined",
    }
    items = excluded[excluded["kind"] == "item"].set_index("id")["reason"].to_dict()
    assert items == {"77": "fewer than 2 ratings"}
    lost = excluded[excluded["kind"] == "rows"]
    came, kept = done.manifest["funnel"][0], done.manifest["funnel"][-1]
    assert came["rows"] == len(lines) == kept["rows"] + lost["rating_count"].sum()
    assert came["users"] == kept["users"] + len(users)
    assert came["items"] == kept["items"] + len(items)
    reasons = lost.set_index("reason")["rating_count"].to_dict()
    assert reasons["quarantined: rating is not a number"] == 1
    assert sum(reasons.values()) == done.manifest["excluded"]["rows"]

    lists = read_rows(current)
    popular = lists[lists["source"] == "popularity"]
    counts = pd.read_parquet(current / "item_clusters").set_index("item_id")["rating_count"]
    ranked = sorted(counts.index, key=lambda item: (-counts[item], item))
    for user, seen in ((900, [0]), (901, []), (902, [])):
        mine = popular[popular["user_id"] == user]
        expected = [item for item in ranked if item not in seen][:3]
        assert mine["item_id"].tolist() == expected
        assert mine["score"].tolist() == [counts[item] for item in expected]
        assert mine["rank"].tolist() == [1, 2, 3]
    assert set(popular["user_id"]) == {900, 901, 902}
    assert done.manifest["audit"]["source_users"] == {"model": 12, "popularity": 3}
    assert len(lists) == done.manifest["audit"]["rows"] == 15 * 3


def test_without_a_fallback_they_have_no_list(spark: SparkSession, tmp_path: Path) -> None:
    ratings = write_csv(tmp_path / "r.csv", [*checkerboard(), *LEFT_OUT[:2]])
    night(spark, ratings, tmp_path / "out", clean={"min_user_ratings": 2, "min_item_ratings": 2})
    lists = read_rows(tmp_path / "out" / "current")
    assert lists["user_id"].max() < 900
    assert set(lists["source"]) == {"model"}
