"""Nights on ml-latest-small and goodbooks-10k: the issue's acceptance, in one process."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from nights import SampleNight
from paths import ROOT
from pyspark.sql import SparkSession
from scipy.optimize import nnls

from jobs.night.night import run_nightly
from jobs.settings.toml import load_config
from recsys_core.query.saved_model import FILES, SavedModel, decode_model

pytestmark = pytest.mark.real

CONF = ROOT / "conf"
NIGHT = date(2026, 11, 21)


@dataclass(frozen=True)
class Night:
    manifest: dict[str, Any]
    lists: pd.DataFrame
    clusters: pd.DataFrame
    model: SavedModel


@pytest.fixture(scope="module")
def movielens(
    spark: SparkSession, real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Night]:
    data = real_data / "ml-latest-small"

    def run(*overrides: str) -> Night:
        output = tmp_path_factory.mktemp("movielens")
        inputs = [f"input.ratings={data}/ratings.csv", f"input.items={data}/movies.csv"]
        config = load_config(
            CONF / "movielens.toml", [*inputs, f"output.path={output}", *overrides]
        )
        return read_night(output, run_nightly(spark, config, NIGHT).manifest)

    return run


def read_night(output: Path, manifest: dict[str, Any]) -> Night:
    current = output / "current"
    return Night(
        manifest,
        pd.read_parquet(current / "recommendations").sort_values(
            ["user_id", "rank"], ignore_index=True
        ),
        pd.read_parquet(current / "item_clusters"),
        decode_model({name: (current / "model" / name).read_bytes() for name in FILES}),
    )


@pytest.fixture(scope="module")
def nmf_night(movielens_night: SampleNight) -> Night:
    return read_night(movielens_night.output, movielens_night.manifest)


@pytest.fixture(scope="module")
def ratings(real_data: Path) -> pd.DataFrame:
    return pd.read_csv(real_data / "ml-latest-small" / "ratings.csv")


def test_movielens_holds_what_the_notebooks_found(nmf_night: Night, ratings: pd.DataFrame) -> None:
    last = nmf_night.manifest["funnel"][-1]
    assert (last["rows"], last["users"], last["items"]) == (66_658, 610, 1_235)
    lists = nmf_night.lists
    assert len(lists) == 610 * 10
    assert lists["user_id"].nunique() == 610
    assert all(lists.groupby("user_id")["rank"].agg(list).map(lambda r: r == [*range(1, 11)]))
    seen = lists.merge(ratings, left_on=["user_id", "item_id"], right_on=["userId", "movieId"])
    assert seen.empty
    assert len(nmf_night.clusters) == 1_235
    assert nmf_night.clusters["cluster"].nunique() == 10


def test_lists_are_those_of_dense_float64_arithmetic(
    nmf_night: Night, ratings: pd.DataFrame
) -> None:
    items = nmf_night.model.catalog.index
    components = nmf_night.model.model.item_factors.astype(np.float64).T  # [n_factors, n_items]
    users = np.random.default_rng(0).choice(610, 200, replace=False) + 1
    for user in users:
        mine = ratings[ratings["userId"] == user]
        index = items.indices_of(mine["movieId"].to_numpy())
        row = np.zeros(len(items))
        row[index[index >= 0]] = mine["rating"].to_numpy()[index >= 0]
        # An independent solver of the same problem, in double precision throughout.
        scores = nnls(components.T, row)[0] @ components
        published = nmf_night.lists[nmf_night.lists["user_id"] == user]
        got = items.indices_of(published["item_id"].to_numpy())
        assert np.allclose(published["score"], scores[got], rtol=1e-5)
        scores[row > 0] = -np.inf
        best = np.lexsort((np.arange(len(items)), -scores))[:10]
        assert np.allclose(scores[got], scores[best], rtol=1e-5)  # equal up to ties


@pytest.mark.parametrize(
    ("partitions", "batch_rows"), [(1, 100), pytest.param(16, 100_000, marks=pytest.mark.long)]
)
def test_partitions_and_batches_change_no_row(
    movielens: Callable[..., Night], nmf_night: Night, partitions: int, batch_rows: int
) -> None:
    other = movielens(
        f"spark.shuffle_partitions={partitions}", f"spark.arrow_batch_rows={batch_rows}"
    )
    pd.testing.assert_frame_equal(other.lists, nmf_night.lists, check_exact=True)


@pytest.mark.long
def test_the_torch_model_publishes_as_well(movielens: Callable[..., Night]) -> None:
    night = movielens("train.model=mf", "train.mf.epochs=3")
    assert len(night.lists) == 610 * 10
    assert night.manifest["training"]["losses"] == sorted(
        night.manifest["training"]["losses"], reverse=True
    )


@pytest.mark.long
def test_goodbooks_is_read_by_its_own_columns(
    spark: SparkSession, real_data: Path, tmp_path: Path
) -> None:
    data = real_data / "goodbooks-10k"
    overrides = [
        f"input.ratings={data}/ratings.csv",
        f"input.items={data}/books.csv",
        f"output.path={tmp_path}",
        "train.ease.n_factors=32",
    ]
    config = load_config(CONF / "goodbooks.toml", overrides)
    manifest = run_nightly(spark, config, NIGHT).manifest
    funnel = {step["step"]: step for step in manifest["funnel"]}
    assert funnel["input"]["rows"] == 981_756
    assert funnel["unique"]["rows"] == 979_478
    assert funnel["active"]["users"] == 53_424
    files = f"{tmp_path}/current/recommendations/*.parquet"
    rows = duckdb.execute(f"SELECT count(*), count(DISTINCT user_id) FROM '{files}'").fetchall()
    assert rows == [(534_240, 53_424)]
    assert manifest["stage_seconds"]["score"] > 0
