"""Whole nights on the built-in sample, in one process."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from builders import checkerboard, make_config, write_csv
from nights import SampleNight
from pyspark.sql import SparkSession

from jobs.errors import InputError, JobError, MachineError
from jobs.night.night import PublishedRun, run_nightly
from jobs.process.failures import explain_failures
from jobs.runs.model_files import load_model
from jobs.runs.staged import StagedRun
from recsys_core.models.registry import MODELS
from recsys_core.query.recommender import recommend
from recsys_core.query.saved_model import FILES, decode_model

NIGHT = date(2026, 11, 21)
N_USERS, N_ITEMS, K = 120, 90, 7
SMALL_SETTINGS = {
    "mf": {"mf": {"epochs": 5, "batch_size": 512, "learning_rate": 0.01, "biases": True}}
}
"""Where a model's defaults would train longer than a test should."""


@pytest.fixture(scope="module")
def sample(sample_night: SampleNight) -> Path:
    return sample_night.data


def run(spark: SparkSession, ratings: Path, output: Path, **sections: Any) -> PublishedRun:
    return run_nightly(spark, make_config(ratings, output, **sections), NIGHT)


def read_table(output: Path, table: str) -> pd.DataFrame:
    return pd.read_parquet(output / "current" / table)


def test_every_user_gets_a_full_list_of_unseen_items(
    sample_night: SampleNight, sample: Path
) -> None:
    output = sample_night.output
    lists = read_table(output, "recommendations")
    seen = pd.read_csv(sample / "ratings.csv")
    assert len(lists) == N_USERS * K
    assert list(lists.columns) == ["user_id", "rank", "item_id", "score", "source"]
    ranks = lists.groupby("user_id")["rank"].agg(sorted)
    assert all(mine == [*range(1, K + 1)] for mine in ranks)
    assert not lists.duplicated(["user_id", "item_id"]).any()
    assert lists.merge(seen, left_on=["user_id", "item_id"], right_on=["userId", "movieId"]).empty
    assert set(lists["source"]) == {"model"}
    assert np.isfinite(lists["score"]).all()


def test_everyone_is_scored_by_a_model_of_some(
    spark: SparkSession, sample: Path, tmp_path: Path
) -> None:
    done = run(spark, sample / "ratings.csv", tmp_path / "out", train={"max_users": 50})
    assert done.manifest["training"]["n_users"] == 50
    assert done.manifest["training"]["n_ratings"] < done.manifest["funnel"][-1]["rows"]
    assert read_table(tmp_path / "out", "recommendations")["user_id"].nunique() == N_USERS


def test_clusters_label_every_item(sample_night: SampleNight) -> None:
    output, manifest = sample_night.output, sample_night.manifest
    clusters = read_table(output, "item_clusters")
    assert len(clusters) == manifest["funnel"][-1]["items"] == manifest["rows"]["item_clusters"]
    assert sorted(set(clusters["cluster"])) == list(range(10))
    assert clusters["title"].notna().all()
    assert clusters["rating_count"].sum() == manifest["funnel"][-1]["rows"]


def latest_by_pandas(sample: Path) -> pd.DataFrame:
    """The columns of ``recent_ratings`` in its order, from the files."""
    ratings = pd.read_csv(sample / "ratings.csv").merge(
        pd.read_csv(sample / "movies.csv"), on="movieId", how="left"
    )
    names = {"userId": "user_id", "movieId": "item_id"}
    order = ["user_id", "timestamp", "item_id"]
    rows = ratings.rename(columns=names).sort_values(order, ascending=[True, False, True])
    rows["place"] = rows.groupby("user_id").cumcount() + 1
    columns = ["user_id", "place", "item_id", "title", "rating", "timestamp"]
    return rows.loc[rows["place"] <= 10, columns].reset_index(drop=True)


def test_the_latest_ratings_are_those_of_the_input(
    sample_night: SampleNight, next_night: SampleNight
) -> None:
    expected = latest_by_pandas(sample_night.data)
    for night in (sample_night, next_night):  # whose lists are by popularity too
        recent = read_table(night.output, "recent_ratings")
        pd.testing.assert_frame_equal(recent, expected, check_dtype=False)
        assert night.manifest["rows"]["recent_ratings"] == len(expected)
    left_out = read_table(next_night.output, "excluded").query("kind == 'user'")["id"]
    assert len(left_out)
    assert set(left_out) <= set(recent["user_id"].astype(str))


def test_the_manifest_accounts_for_the_run(sample_night: SampleNight, sample: Path) -> None:
    output, manifest = sample_night.output, sample_night.manifest
    manifest = json.loads((output / "current" / "manifest.json").read_text())
    assert manifest == manifest
    assert manifest["run_id"].startswith("2026-11-21-")
    assert manifest["config"]["score"]["k"] == K
    assert manifest["funnel"][0]["step"] == "input"
    assert manifest["funnel"][0]["rows"] == 4_000
    assert {Path(file["path"]).name for file in manifest["input_files"]} == {
        "ratings.csv",
        "movies.csv",
    }
    assert all(len(file["sha256"]) == 64 for file in manifest["input_files"])
    assert set(manifest["stage_seconds"]) >= {"read", "clean", "index", "train", "score", "audit"}
    assert manifest["versions"]["pyspark"]


def test_readers_reach_the_run_by_link_and_by_pointer(
    sample_night: SampleNight,
) -> None:
    output, manifest = sample_night.output, sample_night.manifest
    pointer = json.loads((output / "CURRENT.json").read_text())
    assert (output / "current").resolve() == (output / pointer["path"]).resolve()
    assert pointer["run_id"] == manifest["run_id"]
    count = f"SELECT count(*) FROM '{output}/current/recommendations/*.parquet'"
    assert duckdb.execute(count).fetchall() == [(N_USERS * K,)]


def test_tables_hold_only_parquet_that_names_its_run(
    sample_night: SampleNight,
) -> None:
    output, manifest = sample_night.output, sample_night.manifest
    for table in ("recommendations", "item_clusters", "excluded"):
        files = list((output / "current" / table).iterdir())
        assert files
        for file in files:
            assert file.suffix == ".parquet"
            footer = pq.read_schema(file).metadata[b"org.apache.spark.sql.parquet.row.metadata"]
            assert manifest["run_id"] in footer.decode()
            assert "2026-11-21" in footer.decode()


def test_the_saved_model_gives_the_published_scores(
    sample_night: SampleNight, sample: Path
) -> None:
    output = sample_night.output
    saved = decode_model({name: (output / "current/model" / name).read_bytes() for name in FILES})
    ratings = pd.read_csv(sample / "ratings.csv")
    lists = read_table(output, "recommendations")
    user = int(lists["user_id"].iloc[0])
    mine = ratings[ratings["userId"] == user]
    indices = saved.catalog.index.indices_of(mine["movieId"].to_numpy())
    row = np.zeros((1, len(saved.catalog)))
    row[0, indices[indices >= 0]] = mine["rating"].to_numpy()[indices >= 0]
    from scipy.sparse import csr_matrix

    factors = saved.model.fold_in(csr_matrix(row))
    scores = (factors.astype(float) @ saved.model.item_factors.T.astype(float))[0]
    expected = lists[lists["user_id"] == user].sort_values("rank")
    got = scores[saved.catalog.index.indices_of(expected["item_id"].to_numpy())]
    assert np.allclose(got, expected["score"], rtol=1e-5)


def test_nothing_is_left_in_staging(sample_night: SampleNight) -> None:
    output = sample_night.output
    assert list((output / ".staging").iterdir()) == []


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_every_model_gives_a_query_the_nightly_list(
    spark: SparkSession, sample: Path, tmp_path: Path, kind: str
) -> None:
    """Parity: given exactly a user's ratings, the same list, item for item."""
    output = tmp_path / "out"
    train = {"model": kind, **SMALL_SETTINGS.get(kind, {})}
    night = run(spark, sample / "ratings.csv", output, train=train)
    assert night.manifest["training"]["model"] == kind
    assert night.manifest["rows"]["recommendations"] == N_USERS * 10
    saved = load_model(output / "current" / "model")
    lists = read_table(output, "recommendations").sort_values(["user_id", "rank"])
    ratings = pd.read_csv(sample / "ratings.csv")
    for user in np.random.default_rng(0).choice(lists["user_id"].unique(), 100, replace=False):
        mine = ratings[ratings["userId"] == user]
        query = dict(zip(mine["movieId"].tolist(), mine["rating"].tolist(), strict=True))
        expected = lists[lists["user_id"] == user]
        found = recommend(query, saved, k=10)
        assert [item.item_id for item in found] == expected["item_id"].tolist()
        assert [np.float32(item.score) for item in found] == expected["score"].tolist()


def test_string_ids_stay_strings(spark: SparkSession, tmp_path: Path) -> None:
    lines = [f"u{line.replace(',', ',i', 1)}" for line in checkerboard()]
    ratings = write_csv(tmp_path / "r.csv", lines)
    settings = {"n_components": 2, "max_iter": 500}
    run(
        spark,
        ratings,
        tmp_path / "out",
        train={"nmf": settings},
        score={"k": 2},
        cluster={"n_clusters": 2},
        publish={"report": True},
    )
    lists = read_table(tmp_path / "out", "recommendations")
    recent = read_table(tmp_path / "out", "recent_ratings").query("user_id == 'u3' and place == 1")
    assert recent["item_id"].tolist() == ["i11"]
    assert recent["title"].isna().all()  # there is no items file
    # The planted answer: each user's two missing items of its own group.
    for user, items in lists.groupby("user_id")["item_id"]:
        assert {int(item[1:]) % 2 for item in items} == {int(user[1:]) % 2}
    clusters = read_table(tmp_path / "out", "item_clusters")
    groups = clusters.assign(group=clusters["item_id"].str[1:].astype(int) % 2)
    assert groups.groupby("group")["cluster"].nunique().eq(1).all()


def test_a_user_who_rated_nearly_everything_gets_fewer_rows(
    spark: SparkSession, tmp_path: Path
) -> None:
    lines = [f"1,{item},4.0," for item in range(12)]  # everything
    lines += [f"2,{item},3.0," for item in range(10)]  # all but two
    lines += [f"3,{item},5.0," for item in range(3)]
    night = run(
        spark,
        write_csv(tmp_path / "r.csv", lines),
        tmp_path / "out",
        cluster={"n_clusters": 2},
        train={"nmf": {"n_components": 2}},
        score={"k": 5},
        gate={"min_users_covered": 0.5},
    )
    lists = read_table(tmp_path / "out", "recommendations")
    assert lists.groupby("user_id").size().to_dict() == {2: 2, 3: 5}
    assert night.manifest["audit"]["users_without_list"] == 1
    assert night.manifest["audit"]["users_with_short_list"] == 2


def test_bad_rows_are_kept_in_quarantine(spark: SparkSession, tmp_path: Path) -> None:
    ratings = write_csv(tmp_path / "r.csv", [*checkerboard(), "1,1,NaN,5", "broken"])
    night = run(
        spark,
        ratings,
        tmp_path / "out",
        train={"nmf": {"n_components": 2}},
        cluster={"n_clusters": 2},
    )
    refused = pd.read_parquet(tmp_path / "out" / "quarantine" / night.run.run_id)
    assert sorted(refused["raw"]) == ["1,1,NaN,5", "broken"]
    assert night.manifest["quarantined"] == {"malformed row": 1, "rating is NaN": 1}


def test_a_whole_night_on_a_file_system_without_links(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hadoop's ViewFS: a scheme of its own, as HDFS and object stores have."""
    (tmp_path / "disk").mkdir()
    mount = "fs.viewfs.mounttable.default.link./data"
    spark._jsc.hadoopConfiguration().set(mount, (tmp_path / "disk").as_uri())
    output = "viewfs:///data/out"
    config = make_config(
        write_csv(tmp_path / "r.csv", checkerboard()),
        output,
        train={"nmf": {"n_components": 2}},
        cluster={"n_clusters": 2},
        publish={"report": True},
    )
    done = run_nightly(spark, config, NIGHT)
    place = tmp_path / "disk" / "out"
    pointer = json.loads((place / "CURRENT.json").read_text())
    assert done.directory == f"{output}/{pointer['path']}"
    assert done.manifest["report"] == "report.html"
    assert (place / pointer["path"] / "report.html").stat().st_size > 500_000
    assert len(pd.read_parquet(place / pointer["path"] / "recommendations")) == 12 * 8
    assert [path.name for path in (place / ".staging").iterdir()] == []
    printed = capsys.readouterr().out
    assert f"the path in {output}/CURRENT.json" in printed
    assert "DuckDB" not in printed


def snapshot(output: Path) -> tuple[str, str]:
    return str((output / "current").resolve()), (output / "CURRENT.json").read_text()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing", None, "no such file"),
        ("empty", "", "the file is empty"),
        ("no rating column", "userId,movieId\n1,2\n", "no column 'rating'"),
        ("all rows malformed", "userId,movieId,rating\nx\ny\n", "none of the 2 rows"),
        ("one item", "userId,movieId,rating\n1,2,3\n", "n_clusters = 10, but only 1 items"),
    ],
)
def test_bad_input_leaves_current_alone(
    spark: SparkSession,
    sample_night: SampleNight,
    tmp_path: Path,
    name: str,
    content: str | None,
    message: str,
) -> None:
    output = sample_night.output
    before = snapshot(output)
    ratings = tmp_path / "bad.csv"
    if content is not None:
        ratings.write_text(content)
    with pytest.raises(InputError, match=message):
        run(spark, ratings, output)
    assert snapshot(output) == before
    assert list((output / ".staging").iterdir()) == []
    if name == "all rows malformed":  # they can be looked at all the same
        kept = [pd.read_parquet(place) for place in (output / "quarantine").iterdir()]
        assert ["x", "y"] in [sorted(rows["raw"]) for rows in kept]


def test_filters_that_leave_nothing_leave_current_alone(
    spark: SparkSession, sample_night: SampleNight, sample: Path
) -> None:
    output = sample_night.output
    before = snapshot(output)
    with pytest.raises(
        InputError, match=r"no rating is left after the rule 'items with at least 999"
    ):
        run(spark, sample / "ratings.csv", output, clean={"min_item_ratings": 999})
    assert snapshot(output) == before


def test_an_output_that_cannot_be_written_is_told_before_reading(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"output\.path = .* cannot be written"):
        run(spark, tmp_path / "not even looked at.csv", tmp_path / "file" / "out")


def test_a_truncated_file_ends_in_one_line(
    spark: SparkSession, sample: Path, tmp_path: Path
) -> None:
    import gzip

    whole = gzip.compress((sample / "ratings.csv").read_bytes())
    (tmp_path / "r.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(JobError) as error, explain_failures():
        run(spark, tmp_path / "r.csv.gz", tmp_path / "out")
    assert error.value.exit_code == 4
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "current").exists()


def test_a_run_that_dies_while_publishing_changes_nothing(
    spark: SparkSession,
    sample_night: SampleNight,
    sample: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = sample_night.output
    before = snapshot(output)

    def out_of_space(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StagedRun, "keep", out_of_space)
    with pytest.raises(JobError, match="No space left"):
        run(spark, sample / "ratings.csv", output)
    assert snapshot(output) == before
