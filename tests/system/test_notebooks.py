"""The three notebooks' figures, from their configurations and the real ratings."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from paths import ROOT
from pyspark.sql import SparkSession
from scipy.sparse import csr_matrix

from jobs.ask.inspect import read_user_ratings
from jobs.ask.personas import ask_persona, load_personas
from jobs.night.night import run_nightly
from jobs.runs.model_files import load_model
from jobs.settings.models.mf import MfConfig
from jobs.settings.toml import load_config
from recsys_core.models.mf import train_mf
from recsys_core.models.nmf import train_nmf
from recsys_core.query.recommender import recommend, reconstruct, resolve_query, to_row
from recsys_core.query.saved_model import SavedModel

pytestmark = pytest.mark.real

CONF = ROOT / "conf"
TORCH_LOSSES = [11.07, 0.760, 0.660, 0.649, 0.601, 0.518, 0.449, 0.406, 0.380, 0.363, 0.351, 0.342]
"""The third notebook's output, every tenth epoch."""


def run_notebook(
    spark: SparkSession, real_data: Path, output: Path, name: str
) -> tuple[SavedModel, dict[str, Any]]:
    data = real_data / "ml-latest-small"
    overrides = [f"input.ratings={data}/ratings.csv", f"input.items={data}/movies.csv"]
    config = load_config(CONF / name, [*overrides, f"output.path={output}"])
    manifest = run_nightly(spark, config, date(2026, 11, 21)).manifest
    return load_model(output / "current" / "model"), manifest


@pytest.fixture(scope="module")
def popular_ratings(real_data: Path) -> csr_matrix:
    """The NMF notebooks' matrix: movies with more than 20 ratings."""
    ratings = pd.read_csv(real_data / "ml-latest-small" / "ratings.csv")
    ratings = ratings[ratings.groupby("movieId")["rating"].transform("size") > 20]
    return to_matrix(ratings)


def to_matrix(ratings: pd.DataFrame) -> csr_matrix:
    users, _ = pd.factorize(ratings["userId"], sort=True)
    items, _ = pd.factorize(ratings["movieId"], sort=True)
    return csr_matrix((ratings["rating"].to_numpy(), (users, items)))


@pytest.fixture(scope="module")
def worksheet(
    spark: SparkSession, real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> SavedModel:
    output = tmp_path_factory.mktemp("worksheet")
    model, _ = run_notebook(spark, real_data, output, "worksheet_nmf.toml")
    return model


def test_the_worksheet_model(worksheet: SavedModel) -> None:
    figures = worksheet.facts["figures"]
    assert figures["reconstruction_error"] == pytest.approx(629.66, abs=0.01)
    assert figures["iterations"] == 55
    assert (worksheet.facts["n_users"], len(worksheet.catalog)) == (610, 1_235)
    assert worksheet.facts["n_ratings"] == 66_658


def test_the_worksheet_with_two_components(popular_ratings: csr_matrix) -> None:
    trained = train_nmf(
        popular_ratings, n_components=2, init="nndsvd", max_iter=10_000, tol=0.01, seed=0
    )
    assert trained.figures["reconstruction_error"] == pytest.approx(799.8, abs=0.05)


def test_the_worksheet_query(worksheet: SavedModel) -> None:
    disney = next(one for one in load_personas(CONF / "personas.toml") if one.name == "disney fan")
    assert [*disney.ratings] == ["4470", "48", "594", "27619", "152081", "595", "616", "1029"]
    result = ask_persona(disney, worksheet, 10)
    assert ["4470" in line or "27619" in line for line in result.ignored] == [True, True]
    assert all(
        "was left out of the model: fewer than 21 ratings" in line for line in result.ignored
    )
    assert result.precision >= 0.5


def test_personas_name_real_movies(real_data: Path, worksheet: SavedModel) -> None:
    known = set(pd.read_csv(real_data / "ml-latest-small" / "movies.csv")["movieId"].astype(str))
    for persona in load_personas(CONF / "personas.toml"):
        assert set(persona.ratings) <= known, persona.name
        assert set(map(str, persona.relevant)) <= known, persona.name
        assert not set(map(str, persona.relevant)) & set(persona.ratings), persona.name
        assert len(ask_persona(persona, worksheet, 10).recommendations) == 10


@pytest.mark.parametrize(
    ("epochs", "seed"),
    [
        (41, 0),
        *(pytest.param(120, seed, marks=pytest.mark.long) for seed in (0, 1, 2)),
    ],
)
def test_the_torch_loss_curve(real_data: Path, epochs: int, seed: int) -> None:
    ratings = pd.read_csv(real_data / "ml-latest-small" / "ratings.csv")
    config = load_config(CONF / "notebook_torch.toml").train.mf
    assert config == MfConfig(n_factors=8, epochs=120, batch_size=128, learning_rate=1e-3)
    matrix = to_matrix(ratings)
    assert matrix.shape == (610, 9_724)
    settings = {**config.model_dump(), "epochs": epochs}
    losses = np.array(train_mf(matrix, seed=seed, device="cpu", **settings).losses)[::10]
    relative = np.abs(losses / np.array(TORCH_LOSSES[: len(losses)]) - 1)
    assert (relative[:4] < 0.02).all()
    assert (relative[4:] < 0.06).all()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_torch_clusters(spark: SparkSession, real_data: Path, tmp_path: Path) -> None:
    _, manifest = run_notebook(spark, real_data, tmp_path, "notebook_torch.toml")
    clusters = pd.read_parquet(tmp_path / "current" / "item_clusters")
    assert len(clusters) == 9_724
    assert sorted(clusters["cluster"].unique()) == list(range(10))
    agreement = manifest["clusters"]
    # The notebook's claim that a cluster holds similar genres: more than chance, but barely.
    assert 0.005 < agreement["adjusted_mutual_information"] < 0.1
    assert abs(agreement["shuffled_mutual_information"]) < 0.002
    assert agreement["lift"] > agreement["shuffled_lift"]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_first_notebook(spark: SparkSession, real_data: Path, tmp_path: Path) -> None:
    model, _ = run_notebook(spark, real_data, tmp_path, "notebook_nmf.toml")
    assert (model.facts["n_users"], len(model.catalog)) == (610, 1_235)
    assert model.facts["n_ratings"] == 66_658
    assert model.facts["figures"]["reconstruction_error"] <= 9
    titles = ["Toy Story (1995)", "Grumpier Old Men (1995)", "Heat (1995)"]
    items = [resolve_query({title: 4}, model).ratings.popitem()[0] for title in titles]
    first_user = read_user_ratings(model, "1")
    row = to_row(first_user, len(model.catalog))
    scores = reconstruct(row, model)
    assert np.allclose(scores[items], 4.0, atol=0.01)
    query = dict(zip(titles, (5, 2, 3.5), strict=True))
    new_user = to_row(resolve_query(query, model).ratings, len(model.catalog))
    assert reconstruct(new_user, model)[items[0]] == pytest.approx(5, abs=0.05)
    ranked = recommend(query, model, k=1_235)
    assert not set(titles) & {item.title for item in ranked}
    assert len(ranked) == 1_232
    assert [item.score for item in ranked] == sorted((i.score for i in ranked), reverse=True)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("real_data")
def test_mf_trains_at_least_eight_times_as_fast_as_the_notebook() -> None:
    from benchmarks.mf_training import vs_notebook

    result = vs_notebook(runs=3)
    assert result.exact
    assert result.ratio >= 8
